import { createHash } from "node:crypto";
import { driverError, type ErrorCode } from "brokerkit/driver";
import { classify } from "../errors.ts";
import { protocolName, readable, unavailable } from "./client-error.ts";
import type { Cluster } from "./cluster.ts";
import { named } from "./error-names.ts";
import { type Line, REQUEST_MS } from "./line.ts";
import { type Assigned, keyOf, type MembershipEvents, type MembershipRequest } from "./membership.ts";
import type { Answer, Args, RequestName } from "./requests.ts";
import { bounded, until } from "./waiting.ts";

/** After these the same request may be answered: the coordinator is moving, loading or away. */
const ELSEWHERE = named("NOT_COORDINATOR COORDINATOR_NOT_AVAILABLE COORDINATOR_LOAD_IN_PROGRESS REQUEST_TIMED_OUT");
/** What these mean to who would be a member. */
const REFUSALS: ReadonlyMap<string, ErrorCode> = new Map([
  ["GROUP_ID_NOT_FOUND", "INVALID_ARGUMENT"],
  ["UNRELEASED_INSTANCE_ID", "INVALID_ARGUMENT"],
  ["GROUP_MAX_SIZE_REACHED", "QUOTA_EXCEEDED"],
]);
/** The longest pause before the coordinator is asked again. */
const RETRY_MS = 250;
const LEAVE_MS = 1_500;

function isOutage(error: unknown): boolean {
  const name = protocolName(error);
  return name === undefined ? classify(error).retryable : ELSEWHERE.has(name);
}

export const NO_KIP_848 = 'The cluster does not have the "consumer" group protocol: use "classic", or Kafka 4.0 or newer with it enabled.';
/** What "classic" members share partitions out by. */
export const PROTOCOL = "cooperative-sticky";

/** Numbers in use by this process's members of one group with one subscription: instance ids differ, and are the same after a restart. */
const numbers = new WeakMap<Cluster, Map<string, Set<number>>>();

function numberIn(cluster: Cluster, members: string): { readonly number: number; free(): void } {
  const groups = numbers.get(cluster) ?? new Map<string, Set<number>>();
  numbers.set(cluster, groups);
  const used = groups.get(members) ?? new Set<number>();
  groups.set(members, used);
  let number = 1;
  while (used.has(number)) number += 1;
  used.add(number);
  const free = (): void => {
    used.delete(number);
  };
  return { number, free };
}

/**
 * What members of both protocols share: which partitions are owned, and until when, and how the coordinator is asked. It ends ownership by
 * itself when the session can't be known to live any more, before the coordinator can give the partitions to another member.
 */
export class Session {
  readonly #cluster: Cluster;
  readonly #request: MembershipRequest;
  readonly #events: MembershipEvents;
  readonly #ended: (reason: string) => void;
  readonly #over = new AbortController();
  readonly #lines = new Set<Line>();
  readonly #owned = new Map<string, Assigned>();
  /** Settles when ownership of everything ends. */
  #loss: PromiseWithResolvers<void> = Promise.withResolvers();
  #timer = { cancel: (): void => {} };
  #until = Number.NEGATIVE_INFINITY;
  #joined = false;
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers();
  readonly #number: { readonly number: number; free(): void };
  /** How long the coordinator keeps a member that it does not hear of. */
  sessionMs: number;
  /** The group instance id of KIP-345, for a static member. */
  readonly instanceId: string | null;

  /** `ended`: everything was lost. */
  constructor(cluster: Cluster, request: MembershipRequest, ended: (reason: string) => void) {
    this.#cluster = cluster;
    this.#request = request;
    this.#events = request.events;
    this.#ended = ended;
    this.sessionMs = request.behaviour.sessionTimeoutMs;
    const topics = createHash("sha256").update(request.topics.join()).digest("hex").slice(0, 12);
    this.#number = numberIn(cluster, `${request.groupId},${topics}`);
    const { instanceId } = request.behaviour;
    // The coordinator gives a returning instance what it had, whatever it subscribes to now (classic): so one id, one subscription.
    this.instanceId = instanceId === undefined ? null : `${instanceId}-${topics}-${this.#number.number}`;
  }

  get owned(): readonly Assigned[] {
    return [...this.#owned.values()];
  }

  /** Runs a member until it calls back: it has joined. From then on failures are events. */
  async start(signal: AbortSignal, run: (joined: () => void) => Promise<void>): Promise<void> {
    const joined = (): void => {
      this.#joined = true;
      this.#first.resolve();
    };
    run(joined).catch((error: unknown) => {
      this.fail(error);
      this.#first.reject(error);
    });
    try {
      await until(signal, this.#first.promise);
    } catch (error) {
      throw this.explain(error);
    }
  }

  get over(): boolean {
    return this.#over.signal.aborted;
  }

  /** Connections of their own, cut when the session is over. */
  line(): Line {
    const line = this.#cluster.line();
    this.#lines.add(line);
    return line;
  }

  /** Cuts a line, so that what hangs on it fails. Returns a fresh one. */
  replace(line: Line): Line {
    this.#lines.delete(line);
    line.close();
    return this.line();
  }

  /** The coordinator has answered a request sent at `sent` (monotonic): it keeps the session for that long from then on at least. */
  renew(sent: number): void {
    const until = sent + this.sessionMs;
    if (this.over || until <= this.#until) return;
    this.#until = until;
    this.#timer.cancel();
    const { clock } = this.#cluster;
    this.#timer = clock.timer(until - clock.monotonic(), () => {
      this.lose(`no heartbeat was answered for ${this.sessionMs} ms, so the session is over`);
    });
  }

  get alive(): boolean {
    return this.#cluster.clock.monotonic() < this.#until;
  }

  /** Ends ownership of everything. */
  lose(reason: string): void {
    this.#timer.cancel();
    this.#until = Number.NEGATIVE_INFINITY;
    const partitions = this.owned;
    this.#owned.clear();
    this.#loss.resolve();
    this.#loss = Promise.withResolvers();
    this.#ended(reason);
    if (partitions.length > 0 && !this.over) this.#events.lost(partitions, reason);
  }

  /** Takes what is new in an assignment at once, and gives up what is missing from it. Resolves to whether anything was. */
  async take(assignment: readonly Assigned[]): Promise<boolean> {
    const wanted = new Map(assignment.map((one) => [keyOf(one), one]));
    const leaving = this.owned.filter((one) => !wanted.has(keyOf(one)));
    const gained = assignment.filter((one) => !this.#owned.has(keyOf(one)));
    for (const one of gained) this.#owned.set(keyOf(one), one);
    if (gained.length > 0) this.#events.assigned(gained);
    if (leaving.length > 0) await this.#release(leaving);
    return leaving.length > 0;
  }

  async #release(leaving: readonly Assigned[]): Promise<void> {
    const loss = this.#loss.promise;
    let given = false;
    const done = (): void => {
      given = true;
    };
    const giving = this.#events.revoked(leaving).then(done, done);
    const bound = this.pause(this.#request.behaviour.rebalanceTimeoutMs / 2);
    await Promise.race([giving, loss, bound]);
    bound.cancel();
    const still = leaving.filter((one) => this.#owned.get(keyOf(one)) === one);
    for (const one of still) this.#owned.delete(keyOf(one));
    if (!given && still.length > 0 && !this.over) this.#events.lost(still, "they were not given up in time for a rebalance");
  }

  /** One attempt, within `ms`. Rejects with the raw error; after an outage the coordinator is looked for anew by the next one. */
  async ask<N extends RequestName>(line: Line, name: N, args: Args<N>, ms: number = this.#patienceMs): Promise<Answer<N>> {
    try {
      return await this.#ask(line, name, args, ms, this.#over.signal);
    } catch (error) {
      if (isOutage(error)) this.#cluster.coordinatorMoved(this.#request.groupId);
      throw error;
    }
  }

  #ask<N extends RequestName>(line: Line, name: N, args: Args<N>, ms: number, over?: AbortSignal): Promise<Answer<N>> {
    const { groupId } = this.#request;
    const late = (): unknown => unavailable(`The coordinator of the group "${groupId}" did not answer a ${name} request within ${ms} ms.`);
    const ask = async (signal: AbortSignal): Promise<Answer<N>> =>
      line.ask(await this.#cluster.coordinator(groupId, signal), name, args, signal);
    return bounded(this.#cluster.clock, ms, late, ask, over);
  }

  /** How long an answer that comes at once is waited for: several attempts fit into a session, once there is one to keep. */
  get #patienceMs(): number {
    const none = !this.#joined && this.#until === Number.NEGATIVE_INFINITY;
    return none ? REQUEST_MS : Math.min(REQUEST_MS, this.sessionMs / 3);
  }

  /** Before another attempt. */
  get retryMs(): number {
    return Math.min(RETRY_MS, this.#request.behaviour.heartbeatMs);
  }

  /** The coordinator, or the way to it, is gone for a moment. */
  passes(error: unknown): boolean {
    return !this.over && !this.#cluster.closed && isOutage(error);
  }

  /** Whether another attempt may go better: while joining for the first time, links are the caller's to mend. */
  mends(error: unknown): boolean {
    return this.passes(error) && (this.#joined || this.#owned.size > 0 || protocolName(error) !== undefined);
  }

  /** Resolves after `ms`, or when cancelled, or when the session is over. */
  pause(ms: number): Promise<void> & { cancel(): void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = this.#cluster.clock.timer(ms, resolve);
    const cancel = (): void => {
      timer.cancel();
      this.#over.signal.removeEventListener("abort", cancel);
      resolve();
    };
    this.#over.signal.addEventListener("abort", cancel, { once: true });
    if (this.over) cancel();
    void promise.then(cancel);
    return Object.assign(promise, { cancel });
  }

  /** Can't go on: everything is lost, and the error is reported, once. */
  fail(error: unknown): void {
    if (this.over) return;
    const explained = this.explain(error);
    // Before anything is cut: what hangs on a line that closes only says that it was closed.
    this.#first.reject(explained);
    this.lose(explained instanceof Error ? explained.message : String(explained));
    this.close(explained);
    if (this.#joined) this.#events.failed(explained);
  }

  /** The error as an application should see it: where the group refuses the member, which group and what to do. */
  explain(error: unknown): unknown {
    if (error instanceof Error && "driverCode" in error) return error;
    const cause = readable(error);
    const name = protocolName(cause);
    if (name === undefined) return cause;
    if (name === "UNSUPPORTED_VERSION") return driverError("UNSUPPORTED", NO_KIP_848, { cause });
    const { code, retryable } = classify(cause);
    const own = REFUSALS.get(name) ?? (retryable ? undefined : code);
    const as = this.instanceId === null ? "" : `, instance "${this.instanceId}"`;
    return own === undefined
      ? cause
      : driverError(own, `The group "${this.#request.groupId}"${as}: ${(cause as Error).message}`, { cause });
  }

  /** Ends everything that waits. From here on no event is called. */
  close(reason: unknown): void {
    if (this.over) return;
    this.#timer.cancel();
    this.#over.abort(reason);
    this.#owned.clear();
    this.#number.free();
    for (const line of this.#lines) line.close();
  }

  /** Says goodbye, on a connection of its own: the others may be stuck, or closed already. */
  async farewell<N extends RequestName>(name: N, args: Args<N>): Promise<void> {
    const line = this.#cluster.line();
    try {
      await this.#ask(line, name, args, LEAVE_MS);
    } catch {
      // It is not needed then: the session runs out by itself.
    } finally {
      line.close();
    }
  }
}
