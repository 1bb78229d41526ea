import { decodePayload, Undecodable } from "./codec/payload.ts";
import type { Consumption } from "./consumption.ts";
import { type DeliveryView, deliveryView, intercepted, Run, type Verdict, type Verdicts } from "./delivery.ts";
import type { Clock } from "./driver/adapter.ts";
import { BrokerError } from "./errors.ts";
import type { Interceptor } from "./options.ts";
import { Chain } from "./primitives/chain.ts";
import type { Entry } from "./settlement/entry.ts";
import { lostError, type Ownership } from "./settlement/ownership.ts";
import { deliverTrace } from "./telemetry/events.ts";

export interface HandlingWiring {
  readonly adapter: string;
  readonly clock: Clock;
  readonly interceptors: readonly Interceptor[];
  readonly ownership: Pick<Ownership, "settle" | "extend">;
  /** Failed: to be retried, or given up. `together`: the batch they were in threw. */
  readonly failed: (entries: readonly Entry[], error: unknown, delayMs: number | undefined, together: boolean) => void;
  /** To be given up now. */
  readonly given: (entry: Entry, reason: string, error: unknown) => void;
  /** Its lane may go on. */
  readonly left: (entry: Entry) => void;
  readonly timedOut: (entry: Entry) => void;
  /** A run is over: there is room for another. `messages`: how many of it a handler got. */
  readonly over: (messages: number) => void;
}

/** Handlers at work: the middle of the delivery line, from decode to the handler's verdict, a run at a time. */
export class Handling implements Verdicts {
  readonly #wiring: HandlingWiring;
  readonly #options: Consumption;
  readonly #interceptors: readonly Interceptor[];
  readonly #runs = new Chain<Run>();

  constructor(wiring: HandlingWiring, options: Consumption) {
    this.#wiring = wiring;
    this.#options = options;
    this.#interceptors = wiring.interceptors.filter((interceptor) => interceptor.handle !== undefined);
  }

  get size(): number {
    return this.#runs.size;
  }

  get oldestMs(): number {
    return this.#runs.first === undefined ? 0 : this.#wiring.clock.monotonic() - this.#runs.first.startedAt;
  }

  // ---- decode
  /** Starts one run; returns when its time will be over (monotonic ms). */
  start(entries: readonly Entry[], now: number): number {
    const run = new Run(entries, now, this.#options.timeoutMs);
    this.#runs.add(run);
    let slow = false;
    const payloads: unknown[] = [];
    for (const entry of entries) {
      entry.state = "running";
      entry.runs++;
      const payload = decodePayload(this.#options.topic, entry.wire.body);
      payloads.push(payload);
      slow ||= payload instanceof Promise;
    }
    if (slow) void Promise.all(payloads).then((settled) => this.#handle(run, settled));
    else this.#handle(run, payloads);
    return run.deadline;
  }

  // ---- trace, interceptors, handler
  #handle(run: Run, payloads: readonly unknown[]): void {
    if (run.over) return;
    run.decoded = true;
    for (let n = 0; n < run.entries.length; n++) {
      const entry = run.entries[n] as Entry;
      const payload = payloads[n];
      // Lost while an async schema looked at it.
      if (entry.state !== "running") {
        this.#wiring.left(entry);
        continue;
      }
      if (payload instanceof Undecodable) this.#wiring.given(entry, payload.reason, payload.error);
      else run.views.push(deliveryView(this.#options.topic.name, entry, run, payload, entry.attempt - 1, this));
    }
    if (run.views.length === 0) return this.#finish(run, undefined);
    let outcome: void | PromiseLike<void>;
    try {
      outcome = deliverTrace.hasSubscribers ? this.#traced(run) : this.#call(run);
    } catch (error) {
      return this.#finish(run, { error });
    }
    if (outcome === undefined || outcome === null || typeof outcome.then !== "function") return this.#returned(run);
    outcome.then(
      () => this.#returned(run),
      (error: unknown) => this.#finish(run, { error }),
    );
  }

  #call(run: Run): void | PromiseLike<void> {
    return intercepted(this.#interceptors, run.views, (views) => {
      run.handed = true;
      return this.#options.handler(views);
    });
  }

  #traced(run: Run): Promise<void> {
    const { topic, group } = this.#options;
    const context = { adapter: this.#wiring.adapter, topic: topic.name, group, messages: run.views };
    return deliverTrace.tracePromise(async () => this.#call(run), context);
  }

  /** A stream's run goes on in the hands of whoever pulled it. */
  #returned(run: Run): void {
    if (!(this.#options.manual && run.handed)) this.#finish(run, undefined);
  }

  /** A run is over: returned, thrown, or out of time. What its handler settles from now on comes too late. */
  #finish(run: Run, failure: { readonly error: unknown } | undefined): void {
    if (run.over) return;
    this.#end(run);
    const failed: Entry[] = [];
    // Its time was over before it was decoded.
    for (const entry of run.decoded ? [] : run.entries) {
      if (entry.state === "running") failed.push(entry);
      else this.#wiring.left(entry);
    }
    for (const { entry, verdict } of run.views) {
      if (entry.state !== "running") this.#wiring.left(entry);
      else if (verdict !== undefined) this.#apply(entry, verdict);
      else if (failure !== undefined) failed.push(entry);
      else {
        this.#wiring.ownership.settle(entry);
        this.#wiring.left(entry);
      }
    }
    if (failed.length > 0) this.#wiring.failed(failed, failure?.error, undefined, true);
    this.#wiring.over(run.handed ? run.views.length : 0);
  }

  #end(run: Run): void {
    run.over = true;
    this.#runs.remove(run);
  }

  // ---- verdicts of a delivery in a handler's hands
  settle(view: DeliveryView<unknown>, verdict: Verdict): Promise<void> {
    const { entry, run } = view;
    let answer = Promise.resolve();
    if (verdict.kind === "ack") {
      answer = new Promise<void>((resolve, reject) => {
        entry.awaiting = { resolve, reject };
      });
      // At once, but its lane stays closed while the handler runs: no two handlers at one key.
      this.#wiring.ownership.settle(entry);
    }
    if (!this.#options.manual) return answer;
    if (verdict.kind === "ack") this.#wiring.left(entry);
    else this.#apply(entry, verdict);
    this.#endByHand(run);
    return answer;
  }

  async extend(view: DeliveryView<unknown>, ms: number): Promise<void> {
    view.run.deadline = Math.max(view.run.deadline, this.#wiring.clock.monotonic() + ms);
    if (!(await this.#wiring.ownership.extend(view.entry, ms))) throw lostError(view.entry);
  }

  #apply(entry: Entry, verdict: Verdict): void {
    if (verdict.kind === "reject") this.#wiring.given(entry, verdict.reason, undefined);
    else if (verdict.kind === "nack") this.#wiring.failed([entry], verdict.error, verdict.delayMs, false);
  }

  /** Streams: the run is over once everything of it has its verdict, or is somebody else's. */
  #endByHand(run: Run): void {
    if (run.over || run.views.some((view) => view.verdict === undefined && view.entry.state !== "lost")) return;
    this.#end(run);
    for (const { entry } of run.views) if (entry.state === "lost") this.#wiring.left(entry);
    this.#wiring.over(run.handed ? run.views.length : 0);
  }

  // ---- ownership, time, end
  /** It is somebody else's now. Its handler is told, and keeps the lane until it returns or its time is over. */
  lost(entry: Entry): void {
    for (const run of this.#runs) {
      if (!run.entries.includes(entry)) continue;
      run.abort(lostError(entry));
      if (this.#options.manual) this.#endByHand(run);
    }
  }

  /** Ends the runs whose time is over; returns when the next one's will be. */
  expire(now: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const run of this.#runs) {
      if (run.deadline > now) next = Math.min(next, run.deadline);
      else this.#timeOut(run);
    }
    return next;
  }

  #timeOut(run: Run): void {
    const { timeoutMs, topic } = this.#options;
    const text = `A handler of "${topic.name}" has not returned within ${timeoutMs} ms.`;
    const error = new BrokerError("TIMEOUT", text, { details: undefined, topic: topic.name });
    run.abort(error);
    for (const entry of run.entries) this.#wiring.timedOut(entry);
    this.#finish(run, { error });
  }

  /** Waits no longer: signals abort, and what is not settled is not settled by its handler any more. */
  abandon(reason: string): void {
    for (const run of [...this.#runs]) {
      this.#end(run);
      const { name } = this.#options.topic;
      run.abort(new BrokerError("CLOSED", `The subscription to "${name}" is closing: ${reason}.`, { details: undefined, topic: name }));
    }
    this.#wiring.over(0);
  }
}
