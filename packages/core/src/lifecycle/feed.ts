import type { Clock } from "../driver/adapter.ts";
import type { Subscription, SubscriptionEvents } from "../driver/driver.ts";
import type { Cut, Place, ShardId, WireDelivery, WireStart } from "../driver/wire.ts";
import { BrokerError, fromDriver } from "../errors.ts";
import { timeoutSignal, unlessAborted } from "../primitives/abort.ts";
import { settleBy } from "../primitives/race.ts";
import { sleep } from "../primitives/sleep.ts";
import type { Connection } from "./connection.ts";

export interface FeedWiring {
  readonly adapter: string;
  readonly topic: string;
  readonly group: string | undefined;
  readonly from: WireStart;
  readonly credit: number;
  readonly connection: Connection;
  readonly clock: Clock;
  readonly events: SubscriptionEvents;
  /** How many deliveries are wanted now; 0: wait for `wake`. */
  readonly room: () => number;
  /** `full`: it got as many as it asked for. */
  readonly accept: (deliveries: readonly WireDelivery[], full: boolean) => void;
  /** The link went: nothing delivered so far is ours any more (groups only). */
  readonly cut: (reason: string) => void;
  readonly state: (state: "running" | "reconnecting") => void;
  /** It can't go on: the error says why. */
  readonly died: (error: BrokerError) => void;
}

/** Joining may have to wait until the group has given up a member that died: a session, or what a rebalance may take. */
const SUBSCRIBE_MS = 60_000;
const WAIT_MS = 30_000;
const SHORTEST_PAUSE_MS = 25;
/** How long a driver may take over what a dead link keeps it from. */
const LEAVE_MS = 3_000;

/** One driver subscription kept alive: subscribes, receives while there is room, subscribes again after the link broke. */
export class Feed {
  readonly #wiring: FeedWiring;
  readonly #stopping = new AbortController();
  #subscription: Subscription | undefined;
  #wake: (() => void) | undefined;
  #loop: Promise<void> | undefined;
  /** Broadcast: what has been received, to go on behind it after a reconnect. */
  readonly #received = new Map<ShardId, Place>();

  constructor(wiring: FeedWiring) {
    this.#wiring = wiring;
  }

  /** The driver's subscription of the moment. */
  get subscription(): Subscription | undefined {
    return this.#subscription;
  }

  /** Subscribes and begins to receive. Resolves to whether the group was created by this. */
  async start(): Promise<boolean> {
    const subscription = await this.#subscribe(this.#wiring.from);
    // The subscription is in its user's hands before anything can happen to it.
    this.#loop = new Promise<void>((resolve) => setImmediate(resolve)).then(() => this.#run());
    return subscription.created;
  }

  /** There may be room again. */
  wake(): void {
    this.#wake?.();
  }

  /** Ends receiving; resolves once nothing more will be accepted. The driver's subscription stays open for settling. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    this.#wake?.();
    await this.#loop;
  }

  /** Leaves: what was acknowledged is made durable, and the driver's subscription goes. */
  async leave(): Promise<void> {
    const { clock } = this.#wiring;
    if (this.#subscription !== undefined) await settleBy(clock, clock.monotonic() + LEAVE_MS, this.#subscription.flush());
    await this.#abandon();
  }

  async #abandon(): Promise<void> {
    const { clock } = this.#wiring;
    if (this.#subscription !== undefined) await settleBy(clock, clock.monotonic() + LEAVE_MS, this.#subscription.close());
  }

  async #subscribe(from: WireStart): Promise<Subscription> {
    const { connection, topic, group, credit, events, clock } = this.#wiring;
    const ready = connection.ready();
    // Whoever stops it does not wait until a server is back.
    if (ready !== undefined) await unlessAborted(this.#stopping.signal, ready);
    const bound = timeoutSignal(clock, SUBSCRIBE_MS, this.#stopping.signal);
    try {
      const subscription = await connection.driver.subscribe({ topic, group, from, credit, events }, bound.signal);
      this.#subscription = subscription;
      if (group === undefined) for (const [shard, place] of subscription.start ?? NOWHERE) this.#received.set(shard, place);
      return subscription;
    } catch (error) {
      if (bound.signal.aborted && !this.#stopping.signal.aborted) throw this.#late();
      throw this.#wrap(error, "subscribe to");
    } finally {
      bound.done();
    }
  }

  async #run(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      try {
        await this.#receive(this.#subscription as Subscription);
      } catch (raw) {
        const error = this.#wrap(raw, "receive from");
        if (this.#stopping.signal.aborted) return;
        if (!error.retryable) return this.#wiring.died(error);
        if (!(await this.#recover(error))) return;
      }
    }
  }

  async #receive(subscription: Subscription): Promise<void> {
    const { room, connection, accept } = this.#wiring;
    const { receive } = connection.capabilities;
    while (!this.#stopping.signal.aborted) {
      const wanted = room();
      if (wanted <= 0) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        this.#wake = undefined;
        continue;
      }
      const deliveries = await subscription.receive(wanted, Math.min(WAIT_MS, receive.maxWaitMs), this.#stopping.signal);
      if (this.#wiring.group === undefined) this.#remember(deliveries);
      if (deliveries.length > 0) accept(deliveries, deliveries.length >= wanted);
      // A driver that answers at once with nothing must not leave the application's timers and sockets without a turn.
      else await new Promise((resolve) => setImmediate(resolve));
    }
  }

  #remember(deliveries: readonly WireDelivery[]): void {
    for (const delivery of deliveries) {
      if (delivery.place !== undefined) this.#received.set(delivery.shard.id, delivery.place);
    }
  }

  /** The link broke: connect and subscribe again until it holds. False: the subscription is over. */
  async #recover(first: BrokerError): Promise<boolean> {
    const { connection, cut, state, died, group } = this.#wiring;
    let error = first;
    for (let tries = 0; ; tries++) {
      state("reconnecting");
      if (tries === 0) cut(error.message);
      if (error.code === "UNAVAILABLE" || error.code === "TIMEOUT") connection.failed(error);
      await this.#abandon();
      await sleep(this.#wiring.clock, Math.min(2_000, SHORTEST_PAUSE_MS * 2 ** tries), this.#stopping.signal);
      if (this.#stopping.signal.aborted) return false;
      try {
        const subscription = await this.#subscribe(this.#resumeFrom());
        if (group !== undefined && subscription.created) {
          died(this.#groupGone());
          return false;
        }
        state("running");
        return true;
      } catch (raw) {
        error = this.#wrap(raw, "subscribe to");
        if (this.#stopping.signal.aborted) return false;
        if (!error.retryable) {
          died(error);
          return false;
        }
      }
    }
  }

  #resumeFrom(): WireStart {
    if (this.#wiring.group === undefined && this.#received.size > 0) return { kind: "position", cut: new Map(this.#received) };
    return this.#wiring.from;
  }

  #groupGone(): BrokerError {
    const { adapter, topic, group } = this.#wiring;
    const text = `[${adapter}] The group "${group}" of "${topic}" was gone after a reconnect: the backend has lost it, and with it what was not acknowledged. It exists again from now on; subscribe anew to go on.`;
    return new BrokerError("DATA_LOSS", text, { details: { from: undefined, to: undefined }, adapter, topic });
  }

  #late(): BrokerError {
    const { adapter, topic } = this.#wiring;
    const text = `[${adapter}] subscribe to "${topic}": no answer within ${SUBSCRIBE_MS} ms.`;
    return new BrokerError("TIMEOUT", text, { details: undefined, retryable: true, adapter, topic });
  }

  #wrap(error: unknown, doing: string): BrokerError {
    const { adapter, topic, connection } = this.#wiring;
    return fromDriver(connection.driver, error, { adapter, doing, topic });
  }
}

const NOWHERE: Cut = new Map();
