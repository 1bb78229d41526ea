import type { Shard, SubscriptionEvents, WireStart } from "brokerkit/driver";
import { bounded } from "../../client.ts";
import { topicMissing } from "../../errors.ts";
import type { Connection } from "../../protocol/connection.ts";
import type { Session } from "../client.ts";
import { behind, MAIN, placeOf } from "../mapping.ts";
import { type ConsumerInfo, policyOf } from "./api.ts";
import { StreamDelivery } from "./delivery.ts";
import { LONGEST_PULL_MS, Puller } from "./puller.ts";

/** A reader that has not asked for so long is forgotten by the server; it goes on with a new consumer. */
const FORGOTTEN_MS = 300_000;
const FAREWELL_MS = 1_000;
const ANSWER_MS = 5_000;

type Events = Pick<SubscriptionEvents, "dataLoss">;

/** Reads a stream without a group, by a consumer of its own that acknowledges nothing, and notices what was removed before it was read. */
export class StreamReader {
  /** Everything up to this sequence has been read. */
  last = 0;
  /** The last read with a bound found nothing left up to it. */
  exhausted = false;
  /** The stream's end as of opening. */
  readonly end: number;
  readonly #session: Session;
  readonly #connection: Connection;
  readonly #topic: string;
  readonly #stream: string;
  readonly #events: Events;
  readonly #shard: Shard = { id: MAIN };
  readonly #leaving = new AbortController();
  #consumer = "";
  #puller: Puller | undefined;
  #ready: StreamDelivery[] = [];
  #dead: Error | undefined;
  #wake: (() => void) | undefined;

  private constructor(session: Session, connection: Connection, topic: string, end: number, events: Events) {
    this.#session = session;
    this.#connection = connection;
    this.#topic = topic;
    this.#stream = session.names(topic).stream;
    this.#events = events;
    this.end = end;
  }

  static async open(session: Session, topic: string, from: WireStart, events: Events, signal: AbortSignal): Promise<StreamReader> {
    const connection = session.control();
    const { state } = await session.stream(topic, signal);
    const reader = new StreamReader(session, connection, topic, state.last_seq, events);
    const { delivered } = await reader.#begin(policyOf(from, behind(from, state.last_seq)), signal);
    // A position says what should be there, also where it has been removed; all other starts are what is there.
    reader.last = from.kind === "position" ? Math.min(behind(from, 0), delivered.stream_seq) : delivered.stream_seq;
    if (connection.down !== undefined) throw connection.down;
    session.readers.add(reader);
    return reader;
  }

  async #begin(policy: object, signal: AbortSignal): Promise<ConsumerInfo> {
    const made = await this.#session.api.createReader(this.#stream, FORGOTTEN_MS, policy, signal);
    this.#consumer = made.name;
    this.#puller = new Puller(this.#connection, this.#session.clock, this.#session.api.pullSubject(this.#stream, made.name), {
      message: (message) => void this.#ready.push(new StreamDelivery(this.#shard, message, Number.POSITIVE_INFINITY)),
      over: () => this.#wake?.(),
    });
    return made;
  }

  /** Up to `max` messages, none behind `until`. Waits until `deadline` (monotonic ms) unless there is an `until`. */
  async read(max: number, deadline: number, signal: AbortSignal, until?: number): Promise<StreamDelivery[]> {
    const { clock } = this.#session;
    this.exhausted = false;
    const wake = (): void => this.#wake?.();
    signal.addEventListener("abort", wake, { once: true });
    const timer = clock.timer(Math.max(0, deadline - clock.monotonic()), wake);
    try {
      return await this.#read(max, deadline, signal, until);
    } finally {
      timer.cancel();
      signal.removeEventListener("abort", wake);
    }
  }

  async #read(max: number, deadline: number, signal: AbortSignal, until: number | undefined): Promise<StreamDelivery[]> {
    const { clock } = this.#session;
    for (let asked = false; ; ) {
      if (this.#dead !== undefined) throw this.#dead;
      const taken = this.#handOut(max, until);
      if (taken.length > 0) return taken;
      const puller = this.#puller as Puller;
      // What still comes waits for the next call.
      if (signal.aborted || this.#leaving.signal.aborted) return [];
      const left = deadline - clock.monotonic();
      if (puller.failure !== undefined) throw puller.failure;
      if (puller.gone) {
        await this.#renew();
        asked = false;
        continue;
      }
      // What is left here lies behind the bound, or there is nothing left at all.
      if (until !== undefined && (this.#ready.length > 0 || (asked && puller.empty))) {
        await this.#heed(until);
        this.exhausted = true;
        return [];
      }
      if (asked && !puller.busy && left <= 0) return [];
      if (!puller.busy) puller.pull(max, until === undefined ? Math.min(Math.max(1, left), LONGEST_PULL_MS) : 0);
      asked = true;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      this.#wake = undefined;
    }
  }

  /** Says what is missing before each; the rest waits where there is a bound. */
  #handOut(max: number, until = Number.POSITIVE_INFINITY): StreamDelivery[] {
    const taken: StreamDelivery[] = [];
    while (taken.length < max) {
      const next = this.#ready[0];
      if (next === undefined || next.numbers.stream > until) break;
      // What comes behind a hole comes after the word of it, so what stands before it is handed out first.
      if (next.numbers.stream > this.last + 1 && taken.length > 0) break;
      this.#ready.shift();
      this.#lost(next.numbers.stream - 1);
      this.last = next.numbers.stream;
      taken.push(next);
    }
    return taken;
  }

  /** Everything up to this sequence that has not been read is gone. */
  #lost(upTo: number): void {
    const missing = upTo - this.last;
    if (missing <= 0) return;
    this.#events.dataLoss(MAIN, placeOf(MAIN, this.last + 1), placeOf(MAIN, upTo), missing);
    this.last = upTo;
  }

  /** There is nothing to read up to `until`: has it been removed? */
  async #heed(until: number): Promise<void> {
    if (this.last >= until) return;
    const first = this.#ready[0]?.numbers.stream;
    if (first !== undefined) return this.#lost(Math.min(first - 1, until));
    const { state } = await bounded(this.#session.clock, ANSWER_MS, (signal) => this.#session.stream(this.#topic, signal));
    this.#lost(Math.min(state.first_seq - 1, until));
  }

  /** The server has forgotten this reader, or was started anew. */
  async #renew(): Promise<void> {
    const policy = policyOf({ kind: "latest" }, this.last);
    await this.#puller?.close();
    this.#ready = [];
    try {
      await bounded(this.#session.clock, ANSWER_MS, (signal) => this.#begin(policy, signal));
    } catch (error) {
      const info = await bounded(this.#session.clock, ANSWER_MS, (signal) => this.#session.api.stream(this.#stream, signal));
      throw info === undefined ? topicMissing(this.#topic) : error;
    }
  }

  /** The connection is gone. */
  disconnected(error: Error): void {
    this.#dead ??= error;
    this.#wake?.();
  }

  async close(): Promise<void> {
    const { clock, readers } = this.#session;
    readers.delete(this);
    this.#leaving.abort();
    this.#wake?.();
    if (this.#connection.down !== undefined) return;
    const farewell = async (signal: AbortSignal): Promise<void> => {
      await this.#session.api.deleteConsumer(this.#stream, this.#consumer, signal);
      const puller = this.#puller as Puller;
      puller.gone = true;
      await puller.close();
    };
    // What stays behind is forgotten by the server.
    await bounded(clock, FAREWELL_MS, farewell).catch(() => {});
  }
}
