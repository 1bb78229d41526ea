import { Batcher } from "./batching/batcher.ts";
import { Deadlines } from "./batching/deadlines.ts";
import { aborted, checkVerdict, givenUp, neverEntered, timedOut } from "./batching/outcomes.ts";
import { Pending } from "./batching/pending.ts";
import { Turns, type Waiting } from "./batching/turns.ts";
import { checkFinal, checkPublish, checkRecord } from "./capability/publishable.ts";
import { encodeHeaders } from "./codec/headers.ts";
import { encodeKey } from "./codec/key.ts";
import type { BoundTopic } from "./definition.ts";
import type { Clock } from "./driver/adapter.ts";
import type { PublishResult, WireRecord } from "./driver/wire.ts";
import { type BrokerError, fromDriver } from "./errors.ts";
import { Gate } from "./flow/gate.ts";
import { throughAll } from "./interceptors.ts";
import type { Connection } from "./lifecycle/connection.ts";
import type { Receipt } from "./message.ts";
import { DEFAULTS, type Interceptor, type PublishOptions } from "./options.ts";
import { PublishLanes, publishLane } from "./ordering/publish-lanes.ts";
import { Alarm } from "./primitives/alarm.ts";
import { newId } from "./primitives/ids.ts";
import type { Keepalive } from "./primitives/keepalive.ts";
import { backoffMs } from "./retry/backoff.ts";
import { publishTrace } from "./telemetry/events.ts";

/** What waits inside `publish` at the most; who comes later waits outside with nothing encoded. */
const MAX_WAITING = 20_000;
const MAX_WAITING_BYTES = 64 * 2 ** 20;
const RETRY = { initial: 20, factor: 2, max: 1_000 };

export interface PublishWiring {
  readonly adapter: string;
  readonly connection: Connection;
  readonly clock: Clock;
  readonly keepalive: Keepalive;
  readonly interceptors: readonly Interceptor[];
  /** Sees every record as it is handed in, after encoding. */
  readonly tap: (topic: BoundTopic, record: WireRecord) => void;
}

/** THE PUBLISH LINE: check, interceptors, trace, encode, lane, batch, retry, driver. The only file that knows this order. */
export class PublishLine {
  readonly #wiring: PublishWiring;
  readonly #clock: Clock;
  readonly #connection: Connection;
  readonly #interceptors: readonly Interceptor[];
  readonly #gate = new Gate(MAX_WAITING, MAX_WAITING_BYTES);
  readonly #pending: Deadlines;
  readonly #lanes: PublishLanes<Pending>;
  readonly #batcher: Batcher<Pending>;
  /** On their way to the lanes; one line per topic, so that slow preparation keeps the order of the calls. */
  readonly #turns: Turns;
  readonly #end: Alarm;
  readonly #idle: (() => void)[] = [];
  /** New publishes are refused. */
  #closed = false;
  /** Retries are over too. */
  #ended = false;

  constructor(wiring: PublishWiring) {
    this.#wiring = wiring;
    this.#clock = wiring.clock;
    this.#connection = wiring.connection;
    this.#interceptors = wiring.interceptors.filter((interceptor) => interceptor.publish !== undefined);
    this.#pending = new Deadlines(wiring.clock, (item) =>
      item.fail(timedOut(wiring.adapter, item.record.target.topic, item.inDoubt, item.trouble)),
    );
    this.#turns = new Turns(wiring.clock, (by) => {
      if (by > 0) return wiring.keepalive.hold();
      wiring.keepalive.release();
      this.#settledOne();
    });
    this.#end = new Alarm(wiring.clock, () => {
      this.#ended = true;
      this.#turns.giveUp();
      this.#pending.giveUp((item) => item.fail(givenUp(this.#wiring.adapter, item.record.target.topic, item.inDoubt)));
    });
    this.#lanes = new PublishLanes(() => this.#connection.capabilities.publish.order === "record");
    this.#batcher = new Batcher({
      limits: () => this.#connection.capabilities.publish,
      admit: (item, batch) => {
        // Its caller has gone, or what may be its first copy has been forgotten.
        if (item.doubt && this.#clock.monotonic() >= item.repeatUntil) item.fail(item.trouble as BrokerError);
        return item.settled ? "drop" : this.#lanes.enter(item, batch) ? "take" : "parked";
      },
      send: (items, batch) => this.#send(items, batch),
    });
  }

  /** Publishes that have not settled. */
  get unsettled(): number {
    return this.#pending.size + this.#turns.size;
  }

  /** Resolves when the backend has confirmed. */
  publish(topic: BoundTopic, payload: unknown, options: PublishOptions): Promise<Receipt> {
    try {
      if (this.#closed) throw this.#connection.closedError();
      checkPublish(topic, payload, options); // check
      if (this.#interceptors.length > 0) return this.#intercept(topic, payload, options); // interceptors
      return this.#trace(topic, payload, options, options.headers);
    } catch (error) {
      return Promise.reject(error);
    }
  }

  /** Publishes a finished record of core's own (dead letter, requeue, redrive): check, lane, batch, retry. Also retried when in doubt. */
  publishRecord(record: WireRecord, lane: string | undefined, timeoutMs: number, signal?: AbortSignal): Promise<Receipt> {
    const deadline = this.#clock.monotonic() + timeoutMs;
    const ready = this.#connection.ready();
    const place = lane && `${record.target.topic}\0${record.target.group ?? ""}\0${lane}`;
    const go = async (): Promise<Receipt> => {
      const item = new Pending(record, place, deadline, true);
      checkRecord(this.#wiring.adapter, record.target.topic, this.#connection.capabilities, item.bytes, record);
      return this.#enter(item, signal);
    };
    return ready === undefined
      ? go()
      : this.#turns.take(record, this.#waiting(record.target.topic, ready, undefined, deadline, signal), go);
  }

  /** Resolves when nothing is waiting or under way. */
  async flush(): Promise<void> {
    while (this.unsettled > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  /** Nothing leaves until `resume`: the link is down. */
  pause(): void {
    this.#batcher.pause();
  }

  resume(): void {
    this.#batcher.resume();
  }

  /** Refuses new publishes, gives those under way until `deadline` (monotonic ms), then rejects what is left. Again: the earlier one counts. */
  async close(deadline: number): Promise<void> {
    this.#closed = true;
    if (this.unsettled > 0) {
      this.#end.at(deadline);
      await this.flush();
      this.#end.cancel();
    }
    this.#pending.stop();
  }

  // ---- interceptors
  #intercept(topic: BoundTopic, payload: unknown, given: PublishOptions): Promise<Receipt> {
    const options = { ...given, id: given.id ?? newId() };
    const record = { topic: topic.name, id: options.id, payload, headers: { ...options.headers } };
    return throughAll(this.#interceptors, record, async () => {
      checkPublish(topic, record.payload, { ...options, headers: record.headers });
      return this.#trace(topic, record.payload, options, record.headers);
    });
  }

  // ---- trace
  #trace(topic: BoundTopic, payload: unknown, options: PublishOptions, headers: PublishOptions["headers"]): Promise<Receipt> {
    if (!publishTrace.hasSubscribers) return this.#prepare(topic, payload, options, headers);
    const id = options.id ?? newId();
    const context = { adapter: this.#wiring.adapter, topic: topic.name, key: options.key, headers: { ...headers }, payload, id };
    return publishTrace.tracePromise(() => this.#prepare(topic, payload, { ...options, id }, context.headers), context);
  }

  /** Everything that may take time before encoding: connecting, provisioning, an async schema. At once where there is nothing to wait for. */
  #prepare(topic: BoundTopic, payload: unknown, options: PublishOptions, headers: PublishOptions["headers"]): Promise<Receipt> {
    const deadline = this.#clock.monotonic() + (options.timeoutMs ?? DEFAULTS["publish.timeoutMs"]);
    // First what may throw: nothing is under way yet.
    const verdict = topic.schema?.["~standard"].validate(payload);
    const ready = topic.ready();
    const enter = (given: Awaited<typeof verdict>): Promise<Receipt> => {
      checkVerdict(topic, given);
      return this.#enter(this.#encode(topic, payload, options, headers, deadline), options.signal);
    };
    if (ready === undefined && !(verdict instanceof Promise) && !this.#turns.has(topic)) return enter(verdict);
    return this.#turns.take(topic, this.#waiting(topic.name, ready, verdict, deadline, options.signal), enter);
  }

  #waiting<V>(
    topic: string,
    ready: Promise<unknown> | undefined,
    verdict: V | Promise<V>,
    deadline: number,
    signal: AbortSignal | undefined,
  ): Waiting<V> {
    return { ready, verdict, deadline, signal, error: neverEntered(this.#wiring.adapter, topic) };
  }

  // ---- encode: checks the final record again, after interceptors
  #encode(topic: BoundTopic, payload: unknown, options: PublishOptions, headers: PublishOptions["headers"], deadline: number): Pending {
    const keyText = options.key ?? topic.keyOf?.(payload);
    const key = keyText === undefined ? undefined : encodeKey(keyText);
    const id = options.id ?? newId();
    const body = payload === null ? null : topic.codec.encode(payload);
    const wireHeaders = encodeHeaders(headers, topic.extraHeaders, topic.capabilities.message.maxHeaders);
    const record: WireRecord = {
      target: { topic: topic.wire },
      id,
      dedupeId: id,
      key,
      order: topic.order === "topic" ? "topic" : undefined,
      headers: wireHeaders,
      body,
      publishedAt: this.#clock.now(),
      delayMs: options.delayMs,
      ttlMs: options.ttlMs,
      priority: options.priority,
      failures: undefined,
    };
    const lane = publishLane(topic, keyText);
    const pending = new Pending(record, lane, deadline, false);
    checkFinal(this.#wiring.adapter, topic, pending.bytes, record);
    this.#wiring.tap(topic, record);
    return pending;
  }

  // ---- lane, batch
  #enter(item: Pending, signal: AbortSignal | undefined): Promise<Receipt> {
    if (signal?.aborted === true)
      return Promise.reject(aborted(this.#wiring.adapter, item.record.target.topic, item.inDoubt, signal.reason));
    const outcome = item.outcome();
    if (this.#pending.size === 0) this.#wiring.keepalive.hold();
    this.#pending.add(item);
    if (signal !== undefined)
      item.watch(signal, () => item.fail(aborted(this.#wiring.adapter, item.record.target.topic, item.inDoubt, signal.reason)));
    item.onSettled = this.#forget;
    const wait = this.#gate.enter(item.bytes);
    if (wait === undefined) this.#push(item);
    else void wait.then(() => this.#push(item));
    return outcome;
  }

  #push(item: Pending): void {
    item.inside = true;
    if (item.settled) this.#release(item);
    else this.#batcher.push(item);
  }

  /** What is on the wire keeps its place inside until its call is over, even if its caller has gone. */
  #release(item: Pending): void {
    if (!item.inside || item.busy) return;
    item.inside = false;
    this.#gate.leave(item.bytes);
  }

  readonly #forget = (item: Pending): void => {
    this.#pending.remove(item);
    this.#release(item);
    if (this.#pending.size === 0) this.#wiring.keepalive.release();
    this.#settledOne();
  };

  #settledOne(): void {
    if (this.#idle.length > 0 && this.unsettled === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  // ---- driver
  async #send(items: Pending[], batch: object): Promise<void> {
    const call = new AbortController();
    const since = this.#clock.monotonic();
    const records: WireRecord[] = new Array(items.length);
    let deadline = 0;
    for (let n = 0; n < items.length; n++) {
      const item = items[n] as Pending;
      item.sent = true;
      item.busy = true;
      if (item.deadline > deadline) deadline = item.deadline;
      records[n] = item.record;
    }
    this.#pending.begin(call, deadline);
    const results = await this.#attempt(records, call.signal);
    this.#pending.end(call);
    const again: Pending[] = [];
    for (let n = 0; n < items.length; n++) {
      const item = items[n] as Pending;
      const result = results[n];
      item.sent = false;
      if (result?.ok === true) item.succeed(result.place, result.duplicate === true);
      else this.#failed(item, result, since, again);
      if (!item.settled) continue;
      item.busy = false;
      this.#release(item);
    }
    if (again.length === 0) this.#batcher.pushFirst(this.#lanes.leave(items, batch));
    else this.#sendAgain(items, again, batch);
  }

  async #attempt(records: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    try {
      return await this.#connection.driver.publish(records, signal);
    } catch (error) {
      // A driver must not reject; if one does, nothing is known about its records.
      return records.map(() => ({ ok: false, error, sent: "maybe" }));
    }
  }

  // ---- retry
  #failed(item: Pending, result: Extract<PublishResult, { ok: false }> | undefined, since: number, again: Pending[]): void {
    const { driver, capabilities } = this.#connection;
    const inDoubt = result?.sent !== "no";
    if (inDoubt) item.doubted(since, capabilities.dedupe.windowMs);
    const error = fromDriver(driver, result?.error ?? new Error("the driver gave no result for this record"), {
      adapter: this.#wiring.adapter,
      doing: "publish to",
      topic: item.record.target.topic,
      inDoubt: item.doubt,
    });
    if (error.code === "UNAVAILABLE") this.#connection.failed(error);
    if (item.settled) return;
    // A second copy is harmless only where the backend drops it by its dedupeId, or where whoever reads it folds by id.
    const mayRepeat = !inDoubt || item.foldable || capabilities.dedupe.windowMs > 0;
    // A full backend is the caller's to know of at once; a broken link is ours to wait for.
    const passing = error.code === "UNAVAILABLE" || error.code === "TIMEOUT";
    item.trouble = error;
    if (error.retryable && passing && mayRepeat && !this.#ended && this.#clock.monotonic() < item.deadline) again.push(item);
    else item.fail(error);
  }

  /** Keeps the lanes of what is tried again; everything else of the call lets its lanes go. */
  #sendAgain(items: readonly Pending[], again: Pending[], batch: object): void {
    const kept = new Set(again.map((item) => item.lane));
    this.#batcher.pushFirst(
      this.#lanes.leave(
        items.filter((item) => !kept.has(item.lane)),
        batch,
      ),
    );
    const tries = Math.max(...again.map((item) => ++item.tries));
    const resend = (): void => {
      for (const item of again) {
        item.busy = false;
        // Its caller may have had its answer (deadline) while it waited here.
        if (item.settled) this.#release(item);
      }
      const parked = this.#lanes.leave(again, batch);
      this.#batcher.pushFirst([...again.filter((item) => !item.settled), ...parked]);
    };
    this.#clock.timer(backoffMs(RETRY, tries, "full"), () => {
      const ready = this.#connection.ready();
      if (ready === undefined) return resend();
      ready.then(resend, (error: BrokerError) => {
        for (const item of again) item.fail(error);
        resend();
      });
    });
  }
}
