import type { Shard, Timer } from "brokerkit/driver";
import type { Session } from "../../client.ts";
import { RETRY } from "../../mapping.ts";
import type { IncomingMessage, TransportConsumer } from "../../transport.ts";
import { PulsarDelivery } from "./message.ts";

const PULL_MS = 30_000;

/** One consumer of a member: what has come of it, and what of that is not due yet. */
export class Source {
  readonly inbox: boolean;
  readonly consumer: TransportConsumer;
  failure: unknown;
  readonly #session: Session;
  readonly #wake: () => void;
  readonly #shards = new Map<number, Shard>();
  readonly #leaving = new AbortController();
  #ready: PulsarDelivery[] = [];
  /** By due time. Brokers may hand out a delayed message up to a tick early. */
  readonly #held: PulsarDelivery[] = [];
  #timer: Timer | undefined;
  #pulling = false;

  constructor(session: Session, inbox: boolean, consumer: TransportConsumer, wake: () => void) {
    this.#session = session;
    this.inbox = inbox;
    this.consumer = consumer;
    this.#wake = wake;
  }

  pull(max: number): void {
    if (this.#pulling || this.#ready.length > 0 || this.failure !== undefined) return;
    this.#pulling = true;
    this.consumer
      .receive(max, PULL_MS, this.#leaving.signal)
      .then(
        (messages) => this.#came(messages),
        (error: unknown) => {
          this.failure ??= error;
        },
      )
      .finally(() => {
        this.#pulling = false;
        this.#wake();
      });
  }

  #came(messages: readonly IncomingMessage[]): void {
    for (const message of messages) {
      const delivery = new PulsarDelivery(this.#shard(message.id.partition), this.inbox, message);
      if (delivery.due > 0) this.#hold(delivery);
      else this.#ready.push(delivery);
    }
    if (this.#held.length > 0) this.#ring();
  }

  #hold(delivery: PulsarDelivery): void {
    let at = this.#held.length;
    while (at > 0 && (this.#held[at - 1] as PulsarDelivery).due > delivery.due) at--;
    this.#held.splice(at, 0, delivery);
  }

  /** Lets out what is due when the first of it is. */
  #ring(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { clock } = this.#session;
    const now = clock.now();
    let due = 0;
    while (due < this.#held.length && (this.#held[due] as PulsarDelivery).due <= now) due++;
    this.#ready.push(...this.#held.splice(0, due));
    if (due > 0) this.#wake();
    const next = this.#held[0];
    if (next !== undefined) this.#timer = clock.timer(Math.max(1, next.due - now), () => this.#ring());
  }

  #shard(partition: number): Shard {
    const known = this.#shards.get(partition);
    if (known !== undefined) return known;
    const shard: Shard = { id: this.inbox ? RETRY : String(partition) };
    this.#shards.set(partition, shard);
    return shard;
  }

  handOut(max: number): PulsarDelivery[] {
    if (this.#ready.length <= max) {
      const all = this.#ready;
      this.#ready = [];
      return all;
    }
    return this.#ready.splice(0, max);
  }

  owns(delivery: PulsarDelivery): boolean {
    return !delivery.settled && this.#shards.get(delivery.message.id.partition) === delivery.shard;
  }

  /** Ownership of one partition, or of all, is over: nothing of it is handed out or settled any more. */
  lose(partition?: number): Shard[] {
    const lost = [...this.#shards].filter(([one]) => partition === undefined || one === partition);
    for (const [one, shard] of lost) {
      this.#shards.delete(one);
      const stays = (delivery: PulsarDelivery): boolean => delivery.shard !== shard;
      this.#ready = this.#ready.filter(stays);
      this.#held.splice(0, this.#held.length, ...this.#held.filter(stays));
    }
    return lost.map(([, shard]) => shard);
  }

  async close(): Promise<void> {
    this.#leaving.abort();
    this.#timer?.cancel();
    await this.consumer.close();
  }
}
