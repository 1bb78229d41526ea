import type { Clock } from "../../driver/adapter.ts";
import type { Coordination } from "../../driver/driver.ts";
import { driverError } from "../../driver/errors.ts";
import { timeoutSignal } from "../../primitives/abort.ts";
import { Alarm } from "../../primitives/alarm.ts";
import { sleep } from "../../primitives/sleep.ts";
import { decodeOwners, encodeOwners, type Owners, planOwners, withoutMember } from "./owners.ts";

export interface MembershipWiring {
  readonly coordination: Coordination;
  /** The group's register. */
  readonly register: string;
  /** This member: nobody else's name, ever. */
  readonly id: string;
  readonly parts: number;
  /** A member that has not written for so long counts as gone. */
  readonly ttlMs: number;
  readonly clock: Clock;
  /** From 0 to below 1: members do not move in step. */
  readonly random: () => number;
  /** Partitions that are this member's from now on. */
  readonly gained: (parts: readonly number[]) => void;
  /** Partitions that are no longer this member's. */
  readonly lost: (parts: readonly number[], reason: string) => void;
  /** Partitions beyond this member's share: to be drained and let go. Said again until they are. */
  readonly excess: (parts: readonly number[]) => void;
  /** The register could not be reached for so long that all is lost. */
  readonly failed: (error: unknown) => void;
}

/** Parts of the ttl: how often a member looks, writes, how long a call may take, and how much earlier than others it gives itself up. */
const LOOK = 1 / 10;
const LONGEST_LOOK_MS = 1_000;
const BEAT = 1 / 3;
const CALL = 1 / 3;
const MARGIN = 1 / 10;
/** Another was faster: the longest pause before the second try. */
const RETRY = 1 / 500;
const TRIES = 8;
const LEAVE_MS = 2_000;

/**
 * One member's part in sharing a group's partitions through a register. Wall clocks are never compared: a member counts as gone for another
 * when the other has seen its beat unchanged for the whole ttl, and by itself it gives up a little earlier than that after the moment its
 * last successful write was *sent*. So two never hold a partition, however slow the network and however long a process stood still.
 */
export class Membership {
  readonly #wiring: MembershipWiring;
  /** Partition → the fence under which it is held. */
  readonly #held = new Map<number, number>();
  readonly #drained = new Set<number>();
  /** What others' beats were, and since when they have been that (monotonic ms). */
  readonly #seen = new Map<string, { readonly beat: number; readonly since: number }>();
  readonly #stopping = new AbortController();
  readonly #alarm: Alarm;
  #until: number = Number.NEGATIVE_INFINITY;
  #beat = 0;
  #beaten: number = Number.NEGATIVE_INFINITY;
  #trouble: unknown;
  #joined = false;
  /** The register has been there, and since when it is not (monotonic ms). */
  #known = false;
  #gone: number | undefined;
  #hurry: (() => void) | undefined;
  #loop: Promise<void> | undefined;

  constructor(wiring: MembershipWiring) {
    this.#wiring = wiring;
    this.#alarm = new Alarm(wiring.clock, () => this.check());
  }

  /** When everything that is held will be over unless a write succeeds before (monotonic ms). */
  get until(): number {
    return this.#until;
  }

  /** The fence under which this member holds a partition; `undefined`: it does not. */
  fence(part: number): number | undefined {
    return this.#until > this.#wiring.clock.monotonic() ? this.#held.get(part) : undefined;
  }

  /** Takes part: resolves once the register knows of this member, and goes on by itself. */
  async join(signal: AbortSignal): Promise<void> {
    this.#joined = true;
    await this.#look(signal);
    this.#loop = this.#run();
  }

  /** Ends what is over by this member's own clock, whether a timer has said so or not. */
  check(): void {
    const now = this.#wiring.clock.monotonic();
    if (this.#until > now) return this.#alarm.at(this.#until);
    if (this.#until === Number.NEGATIVE_INFINITY) return;
    this.#until = Number.NEGATIVE_INFINITY;
    this.#lose([...this.#held.keys()], "its lease ran out");
    if (this.#trouble !== undefined && !this.#stopping.signal.aborted) this.#wiring.failed(this.#trouble);
  }

  /** The partition is drained: others may have it. */
  letGo(part: number): void {
    if (!this.#held.delete(part)) return;
    this.#drained.add(part);
    this.#hurry?.();
  }

  /** Gives everything back, as far as the register can be reached. Nothing is held from the moment this is called. */
  async leave(): Promise<void> {
    this.#stopping.abort();
    this.#held.clear();
    this.#alarm.cancel();
    await this.#loop;
    const { clock, coordination, register, parts, id } = this.#wiring;
    const bound = timeoutSignal(clock, LEAVE_MS);
    try {
      for (let tries = 0; tries < TRIES && this.#joined; tries++) {
        const found = await coordination.read(register, bound.signal);
        if (found === undefined) return;
        const next = encodeOwners(withoutMember(decodeOwners(found.value, parts), id));
        if ((await coordination.compareAndSet(register, found.revision, next, bound.signal)) !== undefined) return;
      }
    } catch {
      // The others wait until this member's time is over.
    } finally {
      bound.done();
    }
  }

  async #run(): Promise<void> {
    const { clock, ttlMs, random } = this.#wiring;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      // Not all at the same moment.
      await this.#pause(Math.min(LONGEST_LOOK_MS, ttlMs * LOOK) * (0.75 + random() / 2));
      if (signal.aborted) return;
      const bound = timeoutSignal(clock, ttlMs * CALL, signal);
      try {
        await this.#look(bound.signal);
        this.#trouble = undefined;
      } catch (error) {
        this.#trouble = bound.signal.aborted ? this.#silent() : error;
      } finally {
        bound.done();
      }
      this.check();
    }
  }

  #silent(): Error {
    const { register, ttlMs } = this.#wiring;
    return driverError("UNAVAILABLE", `The register "${register}" did not answer within ${ttlMs * CALL} ms, so nothing is owned.`);
  }

  async #pause(ms: number): Promise<void> {
    const early = new AbortController();
    const stop = (): void => early.abort();
    this.#hurry = stop;
    this.#stopping.signal.addEventListener("abort", stop, { once: true });
    await sleep(this.#wiring.clock, ms, early.signal);
    this.#stopping.signal.removeEventListener("abort", stop);
    this.#hurry = undefined;
  }

  /** Reads the register, and writes where there is something to say. */
  async #look(signal: AbortSignal): Promise<void> {
    const { coordination, register, parts, id, ttlMs, clock, random } = this.#wiring;
    for (let tries = 0; tries < TRIES; tries++) {
      const found = await coordination.read(register, signal);
      const owners = decodeOwners(found?.value, parts);
      const now = clock.monotonic();
      this.check();
      this.#observe(owners);
      if (found !== undefined) this.#gone = undefined;
      else if (this.#known) this.#gone ??= now;
      this.#known ||= found !== undefined;
      // It was there and is gone: the others may not know yet, and own what they owned until their time is over.
      if (this.#gone !== undefined && now < this.#gone + ttlMs) return;
      const gone = (other: string): boolean => (this.#seen.get(other)?.since ?? now) + (owners.members.get(other)?.ttlMs ?? 0) <= now;
      const { next, urgent, excess } = planOwners(owners, id, { beat: ++this.#beat, ttlMs }, gone, this.#held, this.#drained);
      if (!urgent && now < this.#beaten + ttlMs * BEAT) return this.#release(excess);
      const revision = await coordination.compareAndSet(register, found?.revision, encodeOwners(next), signal);
      if (revision !== undefined) {
        this.#known = true;
        this.#written(owners, next, now);
        return this.#release(excess);
      }
      await sleep(clock, random() * ttlMs * RETRY * (tries + 1), signal);
      signal.throwIfAborted();
    }
  }

  /** What the register says of others' beats, and of what is held here. */
  #observe({ members, claims }: Owners): void {
    const { id, clock } = this.#wiring;
    const now = clock.monotonic();
    for (const [other, { beat }] of members) if (this.#seen.get(other)?.beat !== beat) this.#seen.set(other, { beat, since: now });
    for (const other of this.#seen.keys()) if (!members.has(other)) this.#seen.delete(other);
    for (const part of this.#drained) if (claims[part]?.owner !== id) this.#drained.delete(part);
    const taken = [...this.#held].filter(([part, fence]) => claims[part]?.owner !== id || claims[part]?.fence !== fence);
    this.#lose(
      taken.map(([part]) => part),
      "another member has taken it, or the register is gone",
    );
  }

  /** A write of ours, sent at `sent`, is in force: it renews what is still held, and gains what was not claimed by us before. */
  #written(before: Owners, next: Owners, sent: number): void {
    const { id, ttlMs, gained } = this.#wiring;
    this.#beaten = sent;
    // What was over when the answer came stays over: somebody may have seen it. Nor does an answer that comes too late renew anything.
    this.check();
    this.#until = Math.max(this.#until, sent + ttlMs * (1 - MARGIN));
    this.check();
    if (this.#until === Number.NEGATIVE_INFINITY || this.#stopping.signal.aborted) return;
    const fresh: number[] = [];
    for (const [part, { owner, fence }] of next.claims.entries()) {
      const { owner: former, fence: old } = before.claims[part] ?? {};
      if (owner !== id || (former === id && old === fence)) continue;
      this.#held.set(part, fence);
      this.#drained.delete(part);
      fresh.push(part);
    }
    if (fresh.length > 0) gained(fresh);
  }

  #release(excess: readonly number[]): void {
    const held = excess.filter((part) => this.#held.has(part));
    if (held.length > 0) this.#wiring.excess(held);
  }

  #lose(parts: readonly number[], reason: string): void {
    for (const part of parts) this.#held.delete(part);
    if (parts.length > 0) this.#wiring.lost(parts, reason);
  }
}
