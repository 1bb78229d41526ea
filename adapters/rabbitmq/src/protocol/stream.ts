import type { Channel, ConsumeMessage, Message } from "amqplib";
import type { Session } from "../client.ts";
import { unavailable } from "../errors.ts";
import { Arrivals } from "./arrivals.ts";
import { closeQuietly, within } from "./link.ts";

/** Where to begin, as the server takes it: https://www.rabbitmq.com/docs/streams#consuming */
export type Offset = "first" | "last" | "next" | number | { readonly "!": "timestamp"; readonly value: number };

/** How many messages the server may send ahead; each one taken is credit for another. */
const PREFETCH = 256;
const LONGEST_WAIT_MS = 60_000;

/** The place of a message in its stream. */
export function offsetOf({ properties }: ConsumeMessage): number {
  return Number(properties.headers?.["x-stream-offset"]);
}

/** Reads a stream from an offset on, over a channel of its own. Nothing of it is remembered by the server. */
export class StreamConsumer {
  readonly #session: Session;
  readonly #channel: Channel;
  readonly #arrivals: Arrivals;
  #dead: Error | undefined;
  #closed = false;

  private constructor(session: Session, channel: Channel) {
    this.#session = session;
    this.#channel = channel;
    this.#arrivals = new Arrivals(session.clock);
  }

  /** Rejects with the server's 404 where there is no such stream. */
  static async open(session: Session, stream: string, from: Offset, signal: AbortSignal): Promise<StreamConsumer> {
    let fail = (_: Error): void => {};
    const opening = session.control().channel((error) => fail(error));
    const begun = opening.then(async (channel) => {
      const consumer = new StreamConsumer(session, channel);
      fail = (error) => consumer.#fail(error);
      await channel.prefetch(PREFETCH);
      await channel.consume(stream, (message) => consumer.#take(message), { arguments: { "x-stream-offset": from } });
      return consumer;
    });
    try {
      return await within(signal, begun);
    } catch (error) {
      opening.then(closeQuietly, () => {});
      throw error;
    }
  }

  #take(message: ConsumeMessage | null): void {
    if (message === null) return this.#fail(unavailable("The log was deleted, or its server went away."));
    if (this.#closed) return;
    this.#arrivals.add(message);
  }

  #fail(error: Error): void {
    this.#dead ??= error;
    this.#arrivals.wake();
  }

  /** Up to `max` messages, waited for until `deadline` (monotonic ms); none when it passes, the signal aborts or this is closed. */
  async take(max: number, deadline: number, signal: AbortSignal): Promise<readonly ConsumeMessage[]> {
    for (;;) {
      if (this.#closed) return [];
      if (this.#dead !== undefined) throw this.#dead;
      if (this.#arrivals.any) return this.#give(max);
      const left = deadline - this.#session.clock.monotonic();
      if (signal.aborted || left <= 0) return [];
      await this.#arrivals.wait(Math.min(left, LONGEST_WAIT_MS), signal);
    }
  }

  #give(max: number): readonly ConsumeMessage[] {
    const given = this.#arrivals.take(max);
    const { deliveryTag } = (given.at(-1) as ConsumeMessage).fields;
    this.#channel.ack({ fields: { deliveryTag } } as Message, true);
    return given;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#arrivals.forget();
    this.#arrivals.wake();
    closeQuietly(this.#channel);
  }
}
