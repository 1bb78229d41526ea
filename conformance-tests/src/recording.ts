import type {
  Adapter,
  Admin,
  Capabilities,
  Cursor,
  Driver,
  Nack,
  PublishResult,
  ReplayRequest,
  SettleResult,
  SubscribeRequest,
  Subscription,
  WireDelivery,
  WireRecord,
} from "brokerkit/driver";
import { now } from "./wait.ts";

/** One call that core made to a driver: the wire, as the suite sees it. */
export interface WireCall {
  /** `publish`, `subscribe`, `ack`, `replay`, `admin.createTopic` … */
  readonly operation: string;
  readonly topic: string | undefined;
  readonly group: string | undefined;
  readonly started: number;
  ended: number | undefined;
  readonly records: readonly WireRecord[];
  readonly deliveries: readonly WireDelivery[];
  readonly request: SubscribeRequest | undefined;
  /** What `receive` was asked for at the most. */
  readonly max: number;
  publishResults: readonly PublishResult[];
  settleResults: readonly SettleResult[];
  received: readonly WireDelivery[];
}

/** Places where a case may step between core and the driver: to fail, to hold, to narrow. Absent ones pass through. */
export interface Tap {
  /** Changes what `connect` and, with a topic, `describe` answer; `connection` counts connects from 1. */
  narrow?(capabilities: Capabilities, connection: number, topic?: string): Capabilities;
  connect?(next: () => Promise<Capabilities>, connection: number): Promise<Capabilities>;
  publish?(
    records: readonly WireRecord[],
    next: (records: readonly WireRecord[]) => Promise<readonly PublishResult[]>,
    signal: AbortSignal,
  ): Promise<readonly PublishResult[]>;
  subscribe?(request: SubscribeRequest, next: (request: SubscribeRequest) => Promise<Subscription>): Promise<Subscription>;
  receive?(next: () => Promise<readonly WireDelivery[]>): Promise<readonly WireDelivery[]>;
  ack?(deliveries: readonly WireDelivery[], next: () => Promise<readonly SettleResult[]>): Promise<readonly SettleResult[]>;
  extend?(deliveries: readonly WireDelivery[], ms: number, next: () => Promise<readonly SettleResult[]>): Promise<readonly SettleResult[]>;
}

export interface Recorded {
  readonly adapter: Adapter;
  readonly calls: readonly WireCall[];
  /** Tells core that the connection is gone, as a driver would. */
  down(error: unknown): void;
  /** The calls of one operation, in the order in which they began. */
  of(operation: string, topic?: string): readonly WireCall[];
}

type CallDetails = Partial<Pick<WireCall, "topic" | "group" | "records" | "deliveries" | "request" | "max">>;

class Recorder {
  readonly calls: WireCall[] = [];
  readonly tap: Tap;
  readonly downs: ((error: unknown) => void)[] = [];

  constructor(tap: Tap) {
    this.tap = tap;
  }

  async call<T>(
    operation: string,
    details: CallDetails,
    run: () => Promise<T>,
    note: (call: WireCall, result: T) => void = () => {},
  ): Promise<T> {
    const call: WireCall = {
      operation,
      topic: details.topic,
      group: details.group,
      started: now(),
      ended: undefined,
      records: details.records ?? [],
      deliveries: details.deliveries ?? [],
      request: details.request,
      max: details.max ?? 0,
      publishResults: [],
      settleResults: [],
      received: [],
    };
    this.calls.push(call);
    try {
      const result = await run();
      note(call, result);
      return result;
    } finally {
      call.ended = now();
    }
  }
}

/** Wraps an adapter so that every call to its drivers is recorded, and may be stepped into through `tap`. */
export function recording(adapter: Adapter, tap: Tap = {}): Recorded {
  const recorder = new Recorder(tap);
  return {
    adapter: {
      ...adapter,
      open: (context) => {
        recorder.downs.push(context.down);
        return recordDriver(adapter.open(context), recorder);
      },
    },
    calls: recorder.calls,
    down: (error) => {
      for (const down of recorder.downs) down(error);
    },
    of: (operation, topic) =>
      recorder.calls.filter((call) => call.operation === operation && (topic === undefined || concerns(call, topic))),
  };
}

function concerns(call: WireCall, topic: string): boolean {
  return call.topic === topic || call.records.some((record) => record.target.topic === topic);
}

function recordDriver(driver: Driver, recorder: Recorder): Driver {
  const { tap } = recorder;
  let connection = 0;
  const narrow = (capabilities: Capabilities, topic?: string): Capabilities =>
    tap.narrow?.(capabilities, connection, topic) ?? capabilities;
  return {
    capabilities: driver.capabilities,
    connect: (signal) => {
      connection += 1;
      const next = (): Promise<Capabilities> => driver.connect(signal);
      return recorder.call("connect", {}, async () => narrow(await (tap.connect?.(next, connection) ?? next())));
    },
    describe: (topic, signal) => recorder.call("describe", { topic }, async () => narrow(await driver.describe(topic, signal), topic)),
    publish: (records, signal) => {
      const next = (those: readonly WireRecord[]): Promise<readonly PublishResult[]> => driver.publish(those, signal);
      return recorder.call(
        "publish",
        { records },
        () => tap.publish?.(records, next, signal) ?? next(records),
        (call, results) => {
          call.publishResults = results;
        },
      );
    },
    subscribe: (request, signal) =>
      recorder.call("subscribe", { topic: request.topic, group: request.group, request }, async () => {
        const next = (those: SubscribeRequest): Promise<Subscription> => driver.subscribe(those, signal);
        return recordSubscription(await (tap.subscribe?.(request, next) ?? next(request)), request, recorder);
      }),
    replay: (request, signal) =>
      recorder.call("replay", { topic: request.topic }, async () => recordCursor(await driver.replay(request, signal), request, recorder)),
    admin: recordAdmin(driver.admin, recorder),
    ...(driver.coordination && { coordination: driver.coordination }),
    ping: (signal) => recorder.call("ping", {}, () => driver.ping(signal)),
    classify: (error) => driver.classify(error),
    close: () => recorder.call("close", {}, () => driver.close()),
  };
}

function recordSubscription(inner: Subscription, request: SubscribeRequest, recorder: Recorder): Subscription {
  const { tap } = recorder;
  const whose = { topic: request.topic, group: request.group };
  const settled = (call: WireCall, results: readonly SettleResult[]): void => {
    call.settleResults = results;
  };
  const outer: Subscription = {
    created: inner.created,
    start: inner.start,
    receive: (max, waitMs, signal) => {
      const next = (): Promise<readonly WireDelivery[]> => inner.receive(max, waitMs, signal);
      return recorder.call(
        "receive",
        { ...whose, max },
        () => tap.receive?.(next) ?? next(),
        (call, deliveries) => {
          call.received = deliveries;
        },
      );
    },
    ack: (deliveries) => {
      const next = (): Promise<readonly SettleResult[]> => inner.ack(deliveries);
      return recorder.call("ack", { ...whose, deliveries }, () => tap.ack?.(deliveries, next) ?? next(), settled);
    },
    flush: () => recorder.call("flush", whose, () => inner.flush()),
    close: () => recorder.call("close-subscription", whose, () => inner.close()),
  };
  // Optional members stay absent where the driver has none: core looks at their presence.
  if (inner.pause !== undefined) outer.pause = (shards) => inner.pause?.(shards);
  if (inner.resume !== undefined) outer.resume = (shards) => inner.resume?.(shards);
  const { nack, extend } = inner;
  if (nack !== undefined) {
    outer.nack = (items: readonly Nack[]) =>
      recorder.call("nack", { ...whose, deliveries: items.map((item) => item.delivery) }, () => nack.call(inner, items), settled);
  }
  if (extend !== undefined) {
    outer.extend = (deliveries, ms) => {
      const next = (): Promise<readonly SettleResult[]> => extend.call(inner, deliveries, ms);
      return recorder.call("extend", { ...whose, deliveries }, () => tap.extend?.(deliveries, ms, next) ?? next(), settled);
    };
  }
  return outer;
}

function recordCursor(inner: Cursor, request: ReplayRequest, recorder: Recorder): Cursor {
  return {
    end: inner.end,
    receive: (max, waitMs, signal) => recorder.call("cursor.receive", { topic: request.topic }, () => inner.receive(max, waitMs, signal)),
    close: () => recorder.call("close-cursor", { topic: request.topic }, () => inner.close()),
  };
}

function recordAdmin(admin: Admin, recorder: Recorder): Admin {
  return {
    createTopic: (spec, signal) => recorder.call("admin.createTopic", { topic: spec.name }, () => admin.createTopic(spec, signal)),
    describeTopic: (topic, signal) => recorder.call("admin.describeTopic", { topic }, () => admin.describeTopic(topic, signal)),
    deleteTopic: (topic, signal) => recorder.call("admin.deleteTopic", { topic }, () => admin.deleteTopic(topic, signal)),
    createGroup: (topic, group, from, signal, exclusive) =>
      recorder.call("admin.createGroup", { topic, group }, () => admin.createGroup(topic, group, from, signal, exclusive)),
    deleteGroup: (topic, group, signal) =>
      recorder.call("admin.deleteGroup", { topic, group }, () => admin.deleteGroup(topic, group, signal)),
    position: (topic, group, signal) => recorder.call("admin.position", { topic, group }, () => admin.position(topic, group, signal)),
    seek: (topic, group, to, signal) => recorder.call("admin.seek", { topic, group }, () => admin.seek(topic, group, to, signal)),
    lag: (topic, group, signal) => recorder.call("admin.lag", { topic, group }, () => admin.lag(topic, group, signal)),
  };
}
