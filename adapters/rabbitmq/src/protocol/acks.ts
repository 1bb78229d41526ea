import type { Channel, Message } from "amqplib";

/**
 * With so many settlements under way, a server's channel keeps further ones of a quorum queue to itself until some are written: the soft limit
 * of rabbit_fifo_client, https://github.com/rabbitmq/rabbitmq-server/blob/main/deps/rabbit/src/rabbit_fifo_client.erl
 */
const KEPT_BACK = 32;

/** Where a delivery stands among those of its channel. */
export interface Tagged {
  readonly tag: number;
  settled: boolean;
}

/**
 * Acknowledges the deliveries of one channel with as few commands as can be: what makes up the whole of the oldest unsettled ones goes with
 * one "everything up to here", the others one by one. A server refuses "up to here" where the delivery named is acknowledged already.
 */
export class Acks {
  readonly #channel: Channel;
  /** The oldest delivery that is not settled. */
  #oldest = 1;
  /** Settled ones behind it. */
  readonly #ahead = new Set<number>();
  /** Commands are counted: all that were sent, the last one that a flush is to see to, and those that one has seen to. */
  #sent = 0;
  #owed = 0;
  #flushed = 0;

  constructor(channel: Channel) {
    this.#channel = channel;
  }

  /** How many settled ones wait for an older one. */
  get ahead(): number {
    return this.#ahead.size;
  }

  get oldest(): number {
    return this.#oldest;
  }

  /** None of them was settled before. `matters`: a flush is to see to them. */
  settle(deliveries: readonly Tagged[], matters = true): void {
    if (deliveries.length === 0) return;
    for (const delivery of deliveries) {
      delivery.settled = true;
      if (delivery.tag !== this.#oldest) this.#ahead.add(delivery.tag);
      else this.#oldest++;
    }
    while (this.#ahead.size > 0 && this.#ahead.delete(this.#oldest)) this.#oldest++;
    let last = 0;
    let covered = 0;
    for (const { tag } of deliveries) {
      if (tag >= this.#oldest) this.#send(tag, false);
      else {
        covered++;
        if (tag > last) last = tag;
      }
    }
    if (covered > 0) this.#send(last, covered > 1);
    if (matters) this.#owed = this.#sent;
  }

  #send(deliveryTag: number, upTo: boolean): void {
    this.#sent++;
    this.#channel.ack({ fields: { deliveryTag } } as Message, upTo);
  }

  /** Something was acknowledged since the last flush. */
  get dirty(): boolean {
    return this.#owed > this.#flushed;
  }

  /**
   * Resolves when the server has written every acknowledgement given so far. It has read them when it answers on their channel, which it does
   * in order; `write` has their queue write what it was told before. What the channel kept to itself until then goes with a second turn.
   */
  async flush(prefetch: number, write: () => Promise<void>): Promise<void> {
    const sent = this.#sent;
    for (let turn = sent - this.#flushed < KEPT_BACK ? 2 : 1; turn <= 2; turn++) {
      await this.#channel.prefetch(prefetch);
      await write();
    }
    this.#flushed = sent;
  }
}
