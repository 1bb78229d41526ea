import { createHash } from "node:crypto";
import { driverError } from "brokerkit/driver";
import { classify, protocolName, readable, unavailable } from "../errors.ts";
import { type Answer, type Args, type Cluster, type Line, REQUEST_MS, type RequestName, until } from "./cluster.ts";
import type { Assigned, MembershipEvents, MembershipRequest } from "./member.ts";

/** After these the same request may be answered: the coordinator is moving, loading or away. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  "NOT_COORDINATOR",
  "COORDINATOR_NOT_AVAILABLE",
  "COORDINATOR_LOAD_IN_PROGRESS",
  "REQUEST_TIMED_OUT",
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

const keyOf = ({ topic, partition }: Assigned): string => `${topic}:${partition}`;

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
  #sessionMs: number;
  #joined = false;
  readonly #number: { readonly number: number; free(): void };
  /** The group instance id of KIP-345, for a static member. */
  readonly instanceId: string | null;

  /** `ended`: everything was lost. */
  constructor(cluster: Cluster, request: MembershipRequest, ended: (reason: string) => void) {
    this.#cluster = cluster;
    this.#request = request;
    this.#events = request.events;
    this.#ended = ended;
    this.#sessionMs = request.behaviour.sessionTimeoutMs;
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
    const first = Promise.withResolvers<void>();
    const joined = (): void => {
      this.#joined = true;
      first.resolve();
    };
    run(joined).catch((error: unknown) => {
      first.reject(error);
      this.fail(error);
    });
    try {
      await until(signal, first.promise);
    } catch (error) {
      throw this.explain(error);
    }
  }

  get over(): boolean {
    return this.#over.signal.aborted;
  }

  get sessionMs(): number {
    return this.#sessionMs;
  }

  set sessionMs(ms: number) {
    this.#sessionMs = ms;
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
    const until = sent + this.#sessionMs;
    if (this.over || until <= this.#until) return;
    this.#until = until;
    this.#timer.cancel();
    const { clock } = this.#cluster;
    this.#timer = clock.timer(until - clock.monotonic(), () => {
      this.lose(`no heartbeat was answered for ${this.#sessionMs} ms, so the session is over`);
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
  async ask<N extends RequestName>(line: Line, name: N, args: Args<N>, ms: number = this.patienceMs): Promise<Answer<N>> {
    const bound = new AbortController();
    const { groupId } = this.#request;
    const timer = this.#cluster.clock.timer(ms, () => {
      bound.abort(unavailable(`The coordinator of the group "${groupId}" did not answer a ${name} request within ${ms} ms.`));
    });
    const signal = AbortSignal.any([bound.signal, this.#over.signal]);
    try {
      return await line.ask(await this.#cluster.coordinator(groupId, signal), name, args, signal);
    } catch (error) {
      if (isOutage(error)) this.#cluster.coordinatorMoved(groupId);
      throw error;
    } finally {
      timer.cancel();
    }
  }

  /** How long an answer that comes at once is waited for: several attempts fit into a session. */
  get patienceMs(): number {
    return Math.min(REQUEST_MS, this.#sessionMs / 3);
  }

  /** Before another attempt. */
  get retryMs(): number {
    return Math.min(RETRY_MS, this.#request.behaviour.heartbeatMs);
  }

  /** Whether another attempt may go better: while joining for the first time, links are the caller's to mend. */
  mends(error: unknown): boolean {
    if (this.over || this.#cluster.closed || !isOutage(error)) return false;
    return this.#joined || this.#owned.size > 0 || protocolName(error) !== undefined;
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
    this.lose(explained instanceof Error ? explained.message : String(explained));
    this.close(explained);
    if (this.#joined) this.#events.failed(explained);
  }

  /** The error as it is, or what to do about it where the protocol's own word is too short. */
  explain(error: unknown): unknown {
    if (error instanceof Error && "driverCode" in error) return error;
    const cause = readable(error);
    const { groupId, behaviour } = this.#request;
    switch (protocolName(cause)) {
      case "INCONSISTENT_GROUP_PROTOCOL":
      case "GROUP_ID_NOT_FOUND":
        return driverError(
          "INVALID_ARGUMENT",
          `The group "${groupId}" has members that share out its partitions by another protocol than ${behaviour.groupProtocol === "classic" ? `"${PROTOCOL}"` : "KIP-848"}. ` +
            "Stop them, let them use it, or choose another group.",
          { cause },
        );
      case "FENCED_INSTANCE_ID":
      case "UNRELEASED_INSTANCE_ID":
        return driverError(
          "INVALID_ARGUMENT",
          `Another member of the group "${groupId}" has the same instance id "${this.instanceId}". ` +
            "Give each process an instanceId of its own.",
          { cause },
        );
      case "INVALID_SESSION_TIMEOUT":
        return driverError(
          "INVALID_ARGUMENT",
          `The cluster does not allow sessionTimeoutMs ${behaviour.sessionTimeoutMs}; ` +
            "its bounds are group.min.session.timeout.ms and group.max.session.timeout.ms.",
          { cause },
        );
      case "UNSUPPORTED_VERSION":
        return driverError("UNSUPPORTED", NO_KIP_848, { cause });
      case "GROUP_MAX_SIZE_REACHED":
        return driverError("QUOTA_EXCEEDED", `The group "${groupId}" has as many members as the cluster allows (group.max.size).`, {
          cause,
        });
      default:
        return cause;
    }
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
    const bound = new AbortController();
    const { clock } = this.#cluster;
    const timer = clock.timer(LEAVE_MS, () => bound.abort(unavailable("The group's coordinator did not answer in time.")));
    try {
      await line.ask(await this.#cluster.coordinator(this.#request.groupId, bound.signal), name, args, bound.signal);
    } catch {
      // It is not needed then: the session runs out by itself.
    } finally {
      timer.cancel();
      line.close();
    }
  }
}
