import { randomUUID } from "node:crypto";
import type { Channel, ConfirmChannel, GetMessage } from "amqplib";
import type { Clock, Register } from "brokerkit/driver";
import { isMissing, LOCKED, replyCode } from "../errors.ts";
import { lockOf } from "../mapping.ts";
import { bounded, type Link, within } from "./link.ts";
import { declareQueue } from "./queues.ts";

const COUNT = "brokerkit-count";
/** How long to wait before asking again for what somebody else holds, at the least and the most. */
const [SHORTEST_MS, LONGEST_MS] = [4, 64];
/** Whoever died with a value in hand gives it back a moment after the lock: for this long an empty register is not believed. */
const LIMBO_MS = 2_000;
/** A quorum queue counts readings as deliveries, and has a limit to them. */
const MAX_READINGS = 10;

export interface RegistersWiring {
  readonly clock: Clock;
  readonly queueType: "quorum" | "classic";
  /** The link to write over. Throws UNAVAILABLE when there is none. */
  readonly link: () => Link;
}

/** What one holds while nobody else can read or write the register. */
interface Held {
  readonly channel: ConfirmChannel;
  /** The value, unsettled: closing the channel gives it back. */
  readonly message: GetMessage | undefined;
}

/**
 * Small values that change by compare-and-set, which the protocol does not have. A register is the one message of a queue; whoever reads or
 * writes it holds an exclusive queue of its connection as a lock, so that lock and writing end together when the connection does.
 */
export class Registers {
  readonly #wiring: RegistersWiring;
  /** By queue: an exclusive queue locks out other connections only. */
  readonly #turns = new Map<string, Promise<unknown>>();
  readonly #idle = new Set<ConfirmChannel>();

  constructor(wiring: RegistersWiring) {
    this.#wiring = wiring;
  }

  async read(queue: string, signal: AbortSignal): Promise<Register | undefined> {
    // The queue is older than the first value: without one nobody has written, and there is nothing to hold.
    if (!(await within(signal, exists(this.#wiring.link(), queue, signal)))) return undefined;
    return await this.#locked(queue, signal, async (held) => {
      const { message } = held;
      if (message === undefined) return undefined;
      const register = { value: message.content, revision: revisionOf(message) };
      if (Number(message.properties.headers?.["x-delivery-count"] ?? 0) < MAX_READINGS) giveBack(held);
      else await write(held, queue, register.value, register.revision);
      return register;
    });
  }

  /** Resolves to the new revision, or to `undefined` when it was not `expected` any more. */
  compareAndSet(queue: string, expected: string | undefined, value: Uint8Array, signal: AbortSignal): Promise<string | undefined> {
    return this.#locked(queue, signal, async (held) => {
      const now = held.message === undefined ? undefined : revisionOf(held.message);
      if (now === expected) return await this.#set(held, queue, value, true);
      giveBack(held);
      return undefined;
    });
  }

  /**
   * Reads, changes and writes with nobody in between. `undefined` from `change`: leave it. A register that was not there before outlives a
   * server that is killed once another queue has been declared, which is the caller's to do.
   */
  update(queue: string, change: (value: Uint8Array | undefined) => Uint8Array | undefined, signal: AbortSignal): Promise<void> {
    return this.#locked(queue, signal, async (held) => {
      const value = change(held.message?.content);
      if (value === undefined) giveBack(held);
      else await this.#set(held, queue, value, false);
    });
  }

  async #set(held: Held, queue: string, value: Uint8Array, outlives: boolean): Promise<string> {
    if (held.message === undefined) await declareQueue(held.channel, queue, { "x-queue-type": this.#wiring.queueType }, outlives);
    const revision = randomUUID();
    await write(held, queue, value, revision);
    return revision;
  }

  async #locked<T>(queue: string, signal: AbortSignal, use: (held: Held) => Promise<T>): Promise<T> {
    const before = this.#turns.get(queue);
    const turn = (before ?? Promise.resolve()).then(() => this.#hold(queue, signal, use));
    const over = turn.then(
      () => undefined,
      () => undefined,
    );
    this.#turns.set(queue, over);
    void over.then(() => {
      if (this.#turns.get(queue) === over) this.#turns.delete(queue);
    });
    return await within(signal, turn);
  }

  async #hold<T>(queue: string, signal: AbortSignal, use: (held: Held) => Promise<T>): Promise<T> {
    const link = this.#wiring.link();
    const lock = lockOf(queue);
    const channel = await this.#lock(link, lock, signal);
    try {
      const there = await exists(link, queue, signal);
      const result = await use({ channel, message: there ? await this.#take(channel, queue, signal) : undefined });
      // Behind what was given back or acknowledged on this channel.
      await channel.deleteQueue(lock);
      this.#idle.add(channel);
      return result;
    } catch (error) {
      // Closing gives back what is in hand; the lock is the connection's, so another channel unlocks.
      await channel.close().catch(() => {});
      const unlock = (late: AbortSignal): Promise<unknown> => link.aside(late, (other) => other.deleteQueue(lock));
      if (link.down === undefined) await bounded(this.#wiring.clock, LIMBO_MS, unlock).catch(() => {});
      throw error;
    }
  }

  /** A channel whose connection holds the lock. Being refused costs the channel. */
  async #lock(link: Link, lock: string, signal: AbortSignal): Promise<ConfirmChannel> {
    for (let ms = SHORTEST_MS; ; ms = Math.min(2 * ms, LONGEST_MS)) {
      signal.throwIfAborted();
      const channel = await this.#channel(link);
      try {
        await channel.assertQueue(lock, { exclusive: true, durable: false, autoDelete: true });
        return channel;
      } catch (error) {
        if (replyCode(error) !== LOCKED) throw error;
      }
      await this.#pause(ms);
    }
  }

  async #channel(link: Link): Promise<ConfirmChannel> {
    for (const channel of this.#idle) {
      this.#idle.delete(channel);
      return channel;
    }
    const channel = await link.confirmChannel(() => this.#idle.delete(channel));
    return channel;
  }

  /** The value, taken out. Of two the writer of the newer one ended before it had cleared the older. */
  async #take(channel: Channel, queue: string, signal: AbortSignal): Promise<GetMessage | undefined> {
    const { clock } = this.#wiring;
    const until = clock.monotonic() + LIMBO_MS;
    for (;;) {
      signal.throwIfAborted();
      let found: GetMessage | undefined;
      for (let next = await channel.get(queue); next !== false; next = next.fields.messageCount > 0 && (await channel.get(queue))) {
        const older = found === undefined || countOf(found) < countOf(next) ? found : next;
        if (older !== undefined) channel.ack(older);
        if (older !== next) found = next;
      }
      if (found !== undefined || clock.monotonic() >= until) return found;
      await this.#pause(SHORTEST_MS);
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => this.#wiring.clock.timer(ms / 2 + (Math.random() * ms) / 2, resolve));
  }
}

async function exists(link: Link, queue: string, signal: AbortSignal): Promise<boolean> {
  try {
    await link.aside(signal, (channel) => channel.checkQueue(queue));
    return true;
  } catch (error) {
    if (isMissing(error)) return false;
    throw error;
  }
}

/** Puts a value in the place of the one in hand, which stays until the new one is confirmed. */
async function write({ channel, message }: Held, queue: string, value: Uint8Array, messageId: string): Promise<void> {
  const headers = { [COUNT]: message === undefined ? 1 : countOf(message) + 1 };
  await new Promise<void>((resolve, reject) => {
    const confirmed = (error: Error | null): void => (error === null ? resolve() : reject(error));
    channel.sendToQueue(queue, Buffer.from(value), { persistent: true, messageId, headers }, confirmed);
  });
  if (message !== undefined) channel.ack(message);
}

function giveBack({ channel, message }: Held): void {
  if (message !== undefined) channel.nack(message, false, true);
}

function revisionOf({ properties }: GetMessage): string {
  return String(properties.messageId);
}

function countOf({ properties }: GetMessage): number {
  return Number(properties.headers?.[COUNT] ?? 0);
}
