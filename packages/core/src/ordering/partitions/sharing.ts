import { randomBytes } from "node:crypto";
import type { Clock } from "../../driver/adapter.ts";
import type { Capabilities } from "../../driver/capabilities.ts";
import type { Coordination, Driver, SubscribeRequest } from "../../driver/driver.ts";
import { driverError } from "../../driver/errors.ts";
import { timeoutSignal, unlessAborted } from "../../primitives/abort.ts";
import { settleBy } from "../../primitives/race.ts";
import { sleep } from "../../primitives/sleep.ts";
import { eachPart } from "./each.ts";
import { Membership } from "./membership.ts";
import { Merged } from "./merged.ts";
import { innerStart, partName } from "./names.ts";
import { Part } from "./part.ts";

export interface SharingWiring {
  readonly driver: Driver;
  readonly coordination: Coordination;
  readonly clock: Clock;
  readonly request: SubscribeRequest & { readonly group: string };
  readonly parts: number;
  /** What the partitions' topics can do. */
  readonly capabilities: Capabilities;
}

const SHORTEST_TTL_MS = 1_000;
const LONGEST_TTL_MS = 30_000;
const TTL_MS = 10_000;
/** How long a partition that is handed over may take to become idle. */
const RELEASE_MS = 30_000;
const OPEN_MS = 15_000;
const CLOSE_MS = 3_000;
/** Before a partition is taken anew of which a part was lost. */
const AGAIN_MS = 50;

/** Joins a group of a topic with partitions: its members divide them by a register, and each reads its own alone. */
export async function share(wiring: SharingWiring, signal: AbortSignal): Promise<Merged> {
  const { driver, parts, request } = wiring;
  const { topic, group, from } = request;
  const outcomes = await eachPart(parts, (part) =>
    driver.admin.createGroup(partName(topic, part), group, innerStart(from, part), signal, true),
  );
  const sharing = new Sharing(wiring, outcomes.includes("created"));
  try {
    await sharing.join(signal);
    return sharing.subscription;
  } catch (error) {
    await sharing.subscription.close();
    throw error;
  }
}

/** Opens and closes the subscriptions of partitions as this member's share changes. */
class Sharing {
  readonly subscription: Merged;
  readonly #wiring: SharingWiring;
  readonly #membership: Membership;
  /** Partitions whose subscription opens or closes: the next one waits for that. */
  readonly #moving = new Map<number, Promise<void>>();
  readonly #life = new AbortController();
  #failure: { readonly error: unknown } | undefined;

  constructor(wiring: SharingWiring, created: boolean) {
    const { clock, capabilities, coordination, parts, request } = wiring;
    const leaseMs = capabilities.lease.ms > 0 ? capabilities.lease.ms : TTL_MS;
    this.#wiring = wiring;
    this.subscription = new Merged({
      clock,
      capabilities,
      created,
      broadcast: false,
      broken: (error) => this.#fail(error),
      check: () => this.#membership.check(),
      forfeit: (part) => {
        this.#drop(part.number, "a delivery of it was lost, and the others must not overtake it");
        this.#move(part.number, () => sleep(clock, AGAIN_MS, this.#life.signal));
        this.#begin(part.number);
      },
      leave: (closeParts) => this.#leave(closeParts),
    });
    this.#membership = new Membership({
      coordination,
      register: `owners/${request.topic}/${request.group}`,
      id: randomBytes(9).toString("base64url"),
      parts,
      ttlMs: Math.min(LONGEST_TTL_MS, Math.max(SHORTEST_TTL_MS, leaseMs)),
      clock,
      random: Math.random,
      gained: (gained) => {
        for (const part of gained) this.#begin(part);
      },
      lost: (lost, reason) => {
        for (const part of lost) this.#drop(part, reason);
      },
      excess: (excess) => {
        for (const part of excess) void this.#release(part);
      },
      failed: (error) => this.#fail(error),
    });
  }

  /** Resolves when this member takes part, and what became its own at once can be received from. */
  async join(signal: AbortSignal): Promise<void> {
    await this.#membership.join(signal);
    await unlessAborted(signal, Promise.all(this.#moving.values()));
    signal.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure.error;
  }

  /** One partition's openings and closings happen one after the other. */
  #move(number: number, step: () => Promise<void>): void {
    const moved = (this.#moving.get(number) ?? Promise.resolve()).then(step).finally(() => {
      if (this.#moving.get(number) === moved) this.#moving.delete(number);
    });
    this.#moving.set(number, moved);
  }

  #begin(number: number): void {
    const fence = this.#membership.fence(number);
    this.#move(number, () => this.#open(number, fence));
  }

  /** `fence`: the ownership that it opens for. */
  async #open(number: number, fence: number | undefined): Promise<void> {
    const { driver, request, clock } = this.#wiring;
    const { group, credit, events } = request;
    if (!this.#wanted(number, fence)) return;
    const part = new Part(number, events, () => this.#membership.until);
    const topic = partName(request.topic, number);
    const bound = timeoutSignal(clock, OPEN_MS, this.#life.signal);
    try {
      const from = innerStart(request.from, number);
      part.inner = await driver.subscribe({ topic, group, from, credit, exclusive: true, events: part.events }, bound.signal);
      if (part.inner.created) throw driverError("NOT_FOUND", `The group "${group}" of "${topic}" was deleted. Subscribe again.`);
    } catch (error) {
      const late = driverError("UNAVAILABLE", `"${topic}" could not be read within ${OPEN_MS} ms.`);
      await this.#shut(part);
      if (this.#wanted(number, fence)) this.#fail(bound.signal.aborted ? late : error);
      return;
    } finally {
      bound.done();
    }
    // It may have been lost while it opened.
    if (this.#wanted(number, fence)) this.subscription.add(part);
    else await this.#shut(part);
  }

  #wanted(number: number, fence: number | undefined): boolean {
    return !this.#life.signal.aborted && this.#failure === undefined && fence !== undefined && this.#membership.fence(number) === fence;
  }

  #drop(number: number, reason: string): void {
    const part = this.subscription.part(number);
    if (part === undefined) return;
    this.subscription.drop(part, reason);
    this.#move(number, () => this.#shut(part));
  }

  /** Hands a partition over: what was begun of it is handled, its subscription is closed, and then others may take it. */
  async #release(number: number): Promise<void> {
    const { clock } = this.#wiring;
    const part = this.subscription.part(number);
    if (part === undefined || part.still || this.#life.signal.aborted) return;
    await settleBy(clock, clock.monotonic() + RELEASE_MS, part.drain());
    if (part.over || this.#life.signal.aborted) return;
    await settleBy(clock, clock.monotonic() + CLOSE_MS, part.inner?.flush() ?? Promise.resolve());
    if (part.over || this.#life.signal.aborted) return;
    this.subscription.drop(part, "it was handed over to another member");
    this.#move(number, async () => {
      await this.#shut(part);
      this.#membership.letGo(number);
    });
  }

  async #shut({ inner }: Part): Promise<void> {
    const { clock } = this.#wiring;
    if (inner !== undefined) await settleBy(clock, clock.monotonic() + CLOSE_MS, inner.close());
  }

  #fail(error: unknown): void {
    if (this.#failure !== undefined || this.#life.signal.aborted) return;
    this.#failure = { error };
    const parts = this.subscription.parts;
    this.subscription.fail(error);
    for (const part of parts) this.#move(part.number, () => this.#shut(part));
  }

  async #leave(closeParts: () => Promise<unknown>): Promise<void> {
    const { clock } = this.#wiring;
    this.#life.abort();
    await settleBy(clock, clock.monotonic() + CLOSE_MS, Promise.allSettled(this.#moving.values()));
    await settleBy(clock, clock.monotonic() + CLOSE_MS, closeParts());
    await this.#membership.leave();
  }
}
