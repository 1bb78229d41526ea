// For an adapter's own tests: opens drivers, reads and publishes below core, and lets everything go when a test or its file is over.
import type {
  Adapter,
  Capabilities,
  Cursor,
  Driver,
  PublishResult,
  ReplayRequest,
  Shard,
  SubscribeRequest,
  Subscription,
  WireDelivery,
  WireRecord,
  WireStart,
} from "brokerkit/driver";
import { type BrokerOptions, type BrokerRecipe, type RunningBroker, startBroker } from "./brokers/index.ts";
import { systemClock } from "./clock.ts";
import { type FaultProxy, startProxy } from "./faults/index.ts";
import { now, pass, until } from "./wait.ts";

export { until };

type Undo = () => Promise<unknown>;

/** What a test runner lends: vitest's `afterEach` and `afterAll`, or any like them. */
export interface Lifetimes {
  afterEach(run: () => Promise<void>): unknown;
  afterAll(run: () => Promise<void>): unknown;
}

export interface Opened {
  readonly driver: Driver;
  readonly capabilities: Capabilities;
  /** What the driver told core about lost links. */
  readonly downs: unknown[];
}

/** What `SubscriptionEvents.dataLoss` told. */
export interface Loss {
  readonly shard: string;
  readonly from: string | undefined;
  readonly to: string | undefined;
  readonly missing: number | undefined;
}

type DataLoss = SubscribeRequest["events"]["dataLoss"];

function noting(losses: Loss[]): DataLoss {
  return (shard, from, to, missing) => void losses.push({ shard, from, to, missing });
}

/** A subscription with everything that it told. */
export interface Reader {
  readonly subscription: Subscription;
  readonly lost: Shard[];
  readonly losses: Loss[];
  readonly states: string[];
  /** Receives until `count` deliveries came; rejects after `ms` (30 s). */
  take(count: number, ms?: number): Promise<WireDelivery[]>;
}

export interface Replayed {
  readonly cursor: Cursor;
  readonly losses: Loss[];
  /** Everything up to the end; rejects after `ms` (30 s). */
  all(ms?: number): Promise<WireDelivery[]>;
}

/** A stage for the tests of one file. What it opens is closed when the test is over, brokers when the file is. */
export class DriverStage {
  readonly #test: Undo[] = [];
  readonly #file: Undo[] = [];

  constructor({ afterEach, afterAll }: Lifetimes) {
    const undo = async (all: Undo[]): Promise<void> => {
      for (const one of all.splice(0).reverse()) await one();
    };
    afterEach(() => undo(this.#test));
    afterAll(() => undo(this.#file));
  }

  /** Runs when the test is over, last first. */
  readonly defer = (undo: Undo): void => void this.#test.push(undo);

  /** Runs when the file is over, last first. */
  readonly atLast = (undo: Undo): void => void this.#file.push(undo);

  /** A private broker of this test file, which may be killed, frozen and restarted. */
  async broker(recipe: BrokerRecipe, options: BrokerOptions = {}): Promise<RunningBroker> {
    const broker = await startBroker(recipe, { destructive: true, options });
    this.atLast(() => broker.close());
    return broker;
  }

  readonly proxied = async (server: Pick<RunningBroker, "host" | "port">): Promise<FaultProxy> => {
    const proxy = await startProxy(server);
    this.defer(() => proxy.close());
    return proxy;
  };

  /** Opens and connects a driver. */
  readonly open = async (adapter: Adapter): Promise<Opened> => {
    const downs: unknown[] = [];
    const driver = adapter.open({ clock: systemClock, down: (error) => downs.push(error) });
    this.defer(() => driver.close());
    return { driver, capabilities: await driver.connect(soon()), downs };
  };

  /** What connecting ends in. */
  readonly connecting = async (adapter: Adapter): Promise<{ readonly code: string; readonly retryable: boolean }> => {
    const driver = adapter.open({ clock: systemClock, down: () => {} });
    this.defer(() => driver.close());
    return driver.connect(soon()).then(
      () => ({ code: "connected", retryable: false }),
      (error: unknown) => driver.classify(error),
    );
  };

  /** A member of `group`, or a broadcast reader; from the latest on unless `more` says otherwise. */
  readonly read = async (
    driver: Driver,
    topic: string,
    group: string | undefined,
    more: Partial<SubscribeRequest> = {},
  ): Promise<Reader> => {
    const [lost, losses, states]: [Shard[], Loss[], string[]] = [[], [], []];
    const events = {
      releasing: async () => {},
      lost: (shard: Shard) => void lost.push(shard),
      state: (_: string, state: string) => void states.push(state),
      dataLoss: noting(losses),
    };
    const subscription = await driver.subscribe({ topic, group, from: { kind: "latest" }, credit: 1_000, events, ...more }, soon());
    let over = false;
    this.defer(() => {
      over = true;
      return subscription.close();
    });
    const { maxRecords, maxWaitMs } = driver.capabilities.receive;
    const take = (count: number, ms = 30_000): Promise<WireDelivery[]> => {
      const receive = (most: number, leftMs: number): Promise<readonly WireDelivery[]> => {
        const wait = Math.min(maxWaitMs, leftMs);
        return subscription.receive(Math.min(maxRecords, most), wait, soon(wait + 5_000));
      };
      return gather(count, ms, receive, ids, () => over);
    };
    return { subscription, lost, losses, states, take };
  };

  /** A reader from `from` to the end as of now, unless `more` says otherwise. */
  readonly replay = async (driver: Driver, topic: string, from: WireStart, more: Partial<ReplayRequest> = {}): Promise<Replayed> => {
    const losses: Loss[] = [];
    const events = { dataLoss: noting(losses) };
    const cursor = await driver.replay({ topic, from, follow: false, events, ...more }, soon());
    this.defer(() => cursor.close());
    const all = async (ms = 30_000): Promise<WireDelivery[]> => {
      const taken: WireDelivery[] = [];
      for (const deadline = now() + ms; now() < deadline; ) {
        const { deliveries, atEnd } = await cursor.receive(driver.capabilities.receive.maxRecords, 1_000, soon(ms + 5_000));
        taken.push(...deliveries);
        if (atEnd) return taken;
      }
      throw new Error(`No end came within ${ms} ms: ${ids(taken).join()}`);
    };
    return { cursor, losses, all };
  };
}

/** Receives until `count` came, and rejects when `ms` or the reader is over before that. `names` are what the error says that came. */
export async function gather<T>(
  count: number,
  ms: number,
  receive: (most: number, leftMs: number) => Promise<readonly T[]>,
  names: (taken: readonly T[]) => readonly unknown[],
  over: () => boolean = () => false,
): Promise<T[]> {
  const taken: T[] = [];
  for (const deadline = now() + ms; taken.length < count && now() < deadline && !over(); ) {
    const came = await receive(count - taken.length, Math.max(1, Math.ceil(deadline - now())));
    // One that is closed answers at once, and asking it again and again would leave no time for anything else.
    if (came.length === 0) await pass(1);
    taken.push(...came);
  }
  if (taken.length < count) throw new Error(`${taken.length} of ${count} came within ${ms} ms: ${names(taken).join()}`);
  return taken;
}

/** A signal that aborts after `ms`. */
export function soon(ms = 30_000): AbortSignal {
  return AbortSignal.timeout(ms);
}

let names = 0;
/** A name that nobody has used. */
export function fresh(): string {
  names += 1;
  return `t-${process.pid}-${names}`;
}

/** A record without key whose body is its id. */
export function record(topic: string, id: string, more: Partial<WireRecord> = {}): WireRecord {
  return { target: { topic }, id, dedupeId: id, key: undefined, headers: [], body: Buffer.from(id), publishedAt: Date.now(), ...more };
}

export function records(topic: string, ...ids: readonly string[]): WireRecord[] {
  return ids.map((id) => record(topic, id));
}

/** Publishes and throws unless all was stored. */
export async function store(driver: Driver, batch: readonly WireRecord[]): Promise<readonly PublishResult[]> {
  const results = await driver.publish(batch, soon());
  for (const result of results) if (!result.ok) throw result.error;
  return results;
}

/** `ok`, or a code and whether it may have been sent. */
export function outcomes(driver: Driver, results: readonly PublishResult[]): string[] {
  return results.map((result) => (result.ok ? "ok" : `${driver.classify(result.error).code} ${result.sent}`));
}

/** How a call ends that should not succeed; `done` where it does. */
export async function failure(driver: Driver, call: Promise<unknown>): Promise<{ readonly code: string; readonly error: Error }> {
  return call.then(
    (value) => ({ code: "done", error: new Error(`it succeeded: ${String(value)}`) }),
    (error: Error) => ({ code: driver.classify(error).code, error }),
  );
}

/** Waits until the driver is connected again. */
export function reconnected(driver: Driver): Promise<unknown> {
  const connected = (): Promise<boolean> => failure(driver, driver.connect(soon())).then(({ code }) => code === "done");
  return until(connected, "the driver to be connected again");
}

export function ids(deliveries: readonly WireDelivery[]): (string | undefined)[] {
  return deliveries.map((delivery) => delivery.id);
}
