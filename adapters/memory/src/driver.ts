import {
  type Admin,
  type Capabilities,
  type Classified,
  type Clock,
  type Coordination,
  type Cursor,
  type Driver,
  driverError,
  type PublishResult,
  type ReplayRequest,
  type SubscribeRequest,
  type Subscription,
  type WireRecord,
} from "brokerkit/driver";
import { MemoryAdmin } from "./admin.ts";
import { MemoryCursor } from "./cursor.ts";
import { beyond, classify, noTopic, unsupported } from "./errors.ts";
import { Publisher } from "./publisher.ts";
import { Member } from "./scripts/queue.ts";
import { cutOf, Reader } from "./scripts/reader.ts";
import { placesReaders } from "./scripts/source.ts";
import type { World } from "./scripts/world.ts";
import { MemorySubscription } from "./subscription.ts";

/** One connection to a world. */
export class MemoryDriver implements Driver {
  readonly capabilities: Capabilities;
  readonly admin: Admin;
  readonly coordination?: Coordination;
  readonly #world: World;
  readonly #publisher: Publisher;
  readonly #open = new Set<{ close(): Promise<void> }>();
  #state: "new" | "connected" | "closed" = "new";

  constructor(world: World, clock: Clock) {
    world.bind(clock);
    this.capabilities = world.record;
    this.#world = world;
    this.#publisher = new Publisher(world);
    if (world.record.coordination) this.coordination = world.registers;
    this.admin = new MemoryAdmin(world, () => this.#check());
  }

  async connect(signal: AbortSignal): Promise<Capabilities> {
    signal.throwIfAborted();
    if (this.#state === "closed") this.#check();
    if (this.#state === "new") this.#world.connected(1);
    this.#state = "connected";
    return this.capabilities;
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    this.#check(signal);
    const found = this.#world.topics.get(topic);
    if (found === undefined && this.capabilities.topics.explicit) throw noTopic(topic);
    const { topics } = this.capabilities;
    return Object.freeze({
      ...this.capabilities,
      topics: Object.freeze({ ...topics, partitions: found?.logs.length ?? topics.partitions }),
    });
  }

  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    try {
      this.#check(signal);
    } catch (error) {
      return Promise.resolve(batch.map(() => ({ ok: false, error, sent: "no" })));
    }
    return this.#publisher.publish(batch);
  }

  async subscribe(
    { topic: name, group: groupName, from, exclusive = false, events }: SubscribeRequest,
    signal: AbortSignal,
  ): Promise<Subscription> {
    this.#check(signal);
    const { delivery, from: starts } = this.capabilities;
    const broadcast = groupName === undefined;
    if ((broadcast ? delivery.broadcast : delivery.group) === "none") throw unsupported(broadcast ? "broadcast" : "groups");
    if (!starts[broadcast ? "broadcast" : "group"].includes(from.kind))
      throw unsupported(`start "${from.kind}" for ${broadcast ? "broadcast" : "groups"}`);
    const topic = this.#world.topic(name);
    const member = new Member(`member-${++this.#world.members}`, events);
    const common = { world: this.#world, member, closed: (one: MemorySubscription) => this.#open.delete(one) };
    if (broadcast) {
      const spots = topic.spots(from);
      const start = placesReaders(this.capabilities) ? cutOf(spots.map((spot) => [spot.log, spot.next])) : undefined;
      return this.#keep(
        new MemorySubscription({ ...common, source: new Reader(topic, member, spots, []), group: undefined, created: true, start }),
      );
    }
    const { group, created } = topic.group(groupName, from);
    group.join(member, this.#world.clock.monotonic(), exclusive);
    return this.#keep(new MemorySubscription({ ...common, source: group, group, created, start: undefined }));
  }

  async replay(request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
    this.#check(signal);
    const { replay } = this.capabilities.from;
    for (const start of [request.from, request.to]) {
      if (start !== undefined && !(start.kind !== "latest" && replay.includes(start.kind))) throw unsupported(`replay by "${start.kind}"`);
    }
    if (request.follow && request.to !== undefined) throw beyond("a replay either follows or has an end");
    return this.#keep(new MemoryCursor(this.#world, request, (one) => this.#open.delete(one)));
  }

  async ping(signal: AbortSignal): Promise<void> {
    this.#check(signal);
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    if (this.#state === "connected") this.#world.connected(-1);
    this.#state = "closed";
    for (const one of this.#open) await one.close();
  }

  #keep<T extends { close(): Promise<void> }>(one: T): T {
    this.#open.add(one);
    return one;
  }

  #check(signal?: AbortSignal): void {
    if (this.#state === "new") throw beyond("before connect");
    if (this.#state === "closed") throw driverError("CLOSED", "The driver is closed. Open another one.");
    signal?.throwIfAborted();
  }
}
