import { decodeHeaders, isReserved } from "./codec/headers.ts";
import { decodeKey } from "./codec/key.ts";
import type { Place, WireDelivery } from "./driver/wire.ts";
import { BrokerError, invalidArgument } from "./errors.ts";
import type { Batch, Delivery, Message } from "./message.ts";
import type { Interceptor } from "./options.ts";
import type { Entry } from "./settlement/entry.ts";

/** A message's id: its own, else one that follows from its place, so that every delivery of it has the same. */
export function idOf(wire: WireDelivery, topic: string): string {
  return wire.id ?? `${topic}/${wire.place ?? "?"}`;
}

/** What applications see of a delivered record; everything but the payload is decoded when it is first read. */
export class MessageView<T> implements Message<T> {
  readonly topic: string;
  readonly id: string;
  readonly payload: T;
  readonly replayed: boolean;
  readonly #wire: WireDelivery;
  #headers: Readonly<Record<string, string>> | undefined;

  constructor(topic: string, id: string, wire: WireDelivery, payload: T, replayed: boolean) {
    this.topic = topic;
    this.id = id;
    this.payload = payload;
    this.replayed = replayed;
    this.#wire = wire;
  }

  get key(): string | undefined {
    return this.#wire.key === undefined ? undefined : decodeKey(this.#wire.key);
  }

  get keyBytes(): Uint8Array | undefined {
    return this.#wire.key;
  }

  get headers(): Readonly<Record<string, string>> {
    this.#headers ??= decodeHeaders(this.#wire.headers);
    return this.#headers;
  }

  get rawHeaders(): readonly (readonly [name: string, value: Uint8Array])[] {
    return this.#wire.headers.filter(([name]) => !isReserved(name));
  }

  get tombstone(): boolean {
    return this.#wire.body === null;
  }

  get publishedAt(): Date {
    return new Date(this.#wire.publishedAt);
  }

  get place(): Place | undefined {
    return this.#wire.place;
  }
}

export type Verdict =
  | { readonly kind: "ack" }
  | { readonly kind: "nack"; readonly delayMs: number | undefined; readonly error: unknown }
  | { readonly kind: "reject"; readonly reason: string };

/** One handler run over one delivery, or over several of a batch. */
export class Run {
  readonly entries: readonly Entry[];
  /** What the handler got: the entries that could be decoded. */
  readonly views: DeliveryView<unknown>[] = [];
  readonly startedAt: number;
  /** Monotonic ms. */
  deadline: number;
  /** The handler has returned, or its time was over: what it settles now comes too late. */
  over = false;
  /** Everything of it has been decoded and looked at. */
  decoded = false;
  /** The handler was called: interceptors may keep it from that. */
  handed = false;
  previous: Run | undefined = undefined;
  next: Run | undefined = undefined;
  #controller: AbortController | undefined;
  #aborted: { readonly reason: unknown } | undefined;

  constructor(entries: readonly Entry[], startedAt: number, timeoutMs: number) {
    this.entries = entries;
    this.startedAt = startedAt;
    this.deadline = startedAt + timeoutMs;
  }

  /** Made when first read: most handlers never do. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#aborted !== undefined) this.#controller.abort(this.#aborted.reason);
    }
    return this.#controller.signal;
  }

  abort(reason: unknown): void {
    this.#aborted ??= { reason };
    this.#controller?.abort(reason);
  }
}

/** What a delivery's verbs do; the delivery line provides it. */
export interface Verdicts {
  settle(delivery: DeliveryView<unknown>, verdict: Verdict): Promise<void>;
  extend(delivery: DeliveryView<unknown>, ms: number): Promise<void>;
}

/** A message in a handler's hands. */
export class DeliveryView<T> extends MessageView<T> implements Delivery<T> {
  readonly attempt: number;
  readonly entry: Entry;
  readonly run: Run;
  /** The verdict given, once. */
  verdict: Verdict | undefined = undefined;
  readonly #verdicts: Verdicts;

  constructor(topic: string, entry: Entry, run: Run, payload: T, attempt: number, verdicts: Verdicts) {
    super(topic, entry.id, entry.wire, payload, false);
    this.attempt = attempt;
    this.entry = entry;
    this.run = run;
    this.#verdicts = verdicts;
  }

  get redelivered(): boolean {
    return this.attempt > 1 || this.entry.wire.failures > 0;
  }

  get signal(): AbortSignal {
    return this.run.signal;
  }

  ack(): Promise<void> {
    return this.#settle(ACK);
  }

  nack(o: { delayMs?: number | undefined; error?: unknown } = {}): Promise<void> {
    const { delayMs } = o;
    const unknown = Object.keys(o).find((name) => name !== "delayMs" && name !== "error");
    if (unknown !== undefined) {
      return quiet(Promise.reject(invalidArgument(unknown, `nack: there is no option "${unknown}". Known: delayMs, error.`)));
    }
    if (delayMs !== undefined && !(Number.isFinite(delayMs) && delayMs >= 0)) {
      return quiet(Promise.reject(invalidArgument("delayMs", "nack: delayMs must be a number from 0.")));
    }
    return this.#settle({ kind: "nack", delayMs, error: o.error ?? new Error("nack") });
  }

  reject(reason: string): Promise<void> {
    if (typeof reason !== "string" || reason === "") {
      return quiet(Promise.reject(invalidArgument("reason", "reject: say why, in a non-empty string; it stands in the dead letter.")));
    }
    return this.#settle({ kind: "reject", reason: reason.slice(0, 1_000) });
  }

  extend(ms: number): Promise<void> {
    if (!(Number.isFinite(ms) && ms > 0)) return quiet(Promise.reject(invalidArgument("ms", "extend: ms must be a number above 0.")));
    return quiet(this.#refusal() ?? this.#verdicts.extend(this as DeliveryView<unknown>, ms));
  }

  #settle(verdict: Verdict): Promise<void> {
    const refusal = this.#refusal();
    if (refusal !== undefined) return quiet(refusal);
    this.verdict = verdict;
    return quiet(this.#verdicts.settle(this as DeliveryView<unknown>, verdict));
  }

  /** Why nothing can be settled any more: nothing is sent for it, and nobody awaiting it does not end the process. */
  #refusal(): Promise<never> | undefined {
    if (this.entry.state === "lost") {
      const text = `Delivery of "${this.id}" is no longer ours: its lease or connection was lost, and another member may have it. Nothing was sent.`;
      return Promise.reject(new BrokerError("LOST_OWNERSHIP", text, { details: undefined, topic: this.topic }));
    }
    if (this.verdict === undefined && !this.run.over) return undefined;
    const text = `Delivery of "${this.id}" is settled already${this.verdict === undefined ? " (its time was over)" : ` (${this.verdict.kind})`}. Nothing was sent.`;
    return Promise.reject(new BrokerError("ALREADY_SETTLED", text, { details: undefined, topic: this.topic }));
  }
}

/** A view over one entry, for one run. */
export function deliveryView(
  topic: string,
  entry: Entry,
  run: Run,
  payload: unknown,
  attempt: number,
  verdicts: Verdicts,
): DeliveryView<unknown> {
  return new DeliveryView(topic, entry, run, payload, attempt, verdicts);
}

/** The handler with the interceptors around it, the first given outermost; around each message of a batch, which share the innermost step. */
export function intercepted(
  interceptors: readonly Interceptor[],
  views: readonly DeliveryView<unknown>[],
  handler: (views: readonly DeliveryView<unknown>[]) => void | PromiseLike<void>,
): void | PromiseLike<void> {
  if (interceptors.length === 0) return handler(views);
  let next = async (): Promise<void> => void (await handler(views));
  for (const view of views) {
    for (const interceptor of interceptors.toReversed()) {
      const inner = next;
      next = async () => interceptor.handle?.(view, inner);
    }
  }
  return next();
}

const ACK: Verdict = Object.freeze({ kind: "ack" });

function quiet(promise: Promise<void>): Promise<void> {
  promise.catch(() => {});
  return promise;
}

/** Several deliveries handed to one handler. */
export class BatchView<T> implements Batch<T> {
  readonly #deliveries: readonly DeliveryView<T>[];

  constructor(deliveries: readonly DeliveryView<T>[]) {
    this.#deliveries = deliveries;
  }

  get length(): number {
    return this.#deliveries.length;
  }

  get payloads(): readonly T[] {
    return this.#deliveries.map((delivery) => delivery.payload);
  }

  get signal(): AbortSignal {
    return (this.#deliveries[0] as DeliveryView<T>).signal;
  }

  async ack(): Promise<void> {
    await Promise.all(this.#open().map((delivery) => delivery.ack()));
  }

  async nack(o: { delayMs?: number | undefined } = {}): Promise<void> {
    await Promise.all(this.#open().map((delivery) => delivery.nack(o)));
  }

  [Symbol.iterator](): Iterator<Delivery<T>> {
    return this.#deliveries[Symbol.iterator]();
  }

  #open(): readonly DeliveryView<T>[] {
    const open = this.#deliveries.filter((delivery) => delivery.verdict === undefined);
    // Settling twice must not look like success.
    return open.length > 0 ? open : this.#deliveries;
  }
}
