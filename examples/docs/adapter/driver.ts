// #region driver
import type {
  Admin,
  Capabilities,
  Classified,
  Cursor,
  Driver,
  DriverContext,
  PublishResult,
  SubscribeRequest,
  Subscription,
  TopicInfo,
  TopicSpec,
  WireRecord,
} from "brokerkit/driver";
import { capabilities } from "./capabilities.ts";
import { absent, classify } from "./errors.ts";
import { Queue, type Shelf, ShelfError } from "./shelf.ts";
import { ShelfSubscription } from "./subscription.ts";

export class ShelfDriver implements Driver {
  readonly capabilities: Capabilities = capabilities.shelf;
  readonly admin: Admin;
  readonly #shelf: Shelf;
  readonly #context: DriverContext;
  readonly #open = new Set<ShelfSubscription>();
  #up = false;

  constructor(shelf: Shelf, context: DriverContext) {
    this.#shelf = shelf;
    this.#context = context;
    this.admin = new ShelfAdmin(shelf, () => this.#check());
  }

  /** One attempt. A server that can do less than the ceiling would be answered here, by a narrower record. */
  async connect(): Promise<Capabilities> {
    this.#up = true;
    return this.capabilities;
  }

  async describe(topic: string): Promise<Capabilities> {
    this.#check();
    this.#shelf.groups(topic); // throws where there is no such topic
    return this.capabilities;
  }

  /** Never rejects: each record has a result. Nothing leaves after the first failure of a topic, so that keys keep their order. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = new Array(batch.length);
    for (const [topic, records] of Map.groupBy(batch.entries(), ([, { target }]) => target.topic)) {
      let result: PublishResult = { ok: true };
      try {
        this.#check();
        signal.throwIfAborted();
        this.#shelf.put(
          topic,
          records.map(([, { id, key, headers, body, publishedAt }]) => ({ id, key, headers, body, at: publishedAt })),
        );
      } catch (error) {
        // This backend stores all or nothing and answers at once. Over a network a cut link would be `sent: "maybe"`.
        result = { ok: false, error, sent: "no" };
      }
      for (const [index] of records) results[index] = result;
    }
    return results;
  }

  async subscribe({ topic, group, events }: SubscribeRequest): Promise<Subscription> {
    this.#check();
    if (group === undefined) throw absent("broadcast");
    const created = createGroup(this.#shelf, topic, group) === "created";
    const queue = this.#shelf.groups(topic).get(group) as Queue;
    const subscription = new ShelfSubscription(queue, created, this.#context.clock, events);
    this.#open.add(subscription);
    return subscription;
  }

  async replay(): Promise<Cursor> {
    throw absent("history to replay");
  }

  async ping(): Promise<void> {
    this.#check();
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  /** What a client's "disconnected" event would call: ownership does not survive the link here, and core connects again. */
  lostLink(): void {
    const error = new ShelfError("offline", "The shelf is out of reach.");
    this.#up = false;
    for (const subscription of this.#open) subscription.break(error);
    this.#open.clear();
    this.#context.down(error);
  }

  async close(): Promise<void> {
    this.#up = false;
    for (const subscription of this.#open) await subscription.close();
    this.#open.clear();
  }

  #check(): void {
    if (!this.#up) throw new ShelfError("offline", "There is no connection to the shelf.");
  }
}
// #endregion

// #region admin
class ShelfAdmin implements Admin {
  readonly #shelf: Shelf;
  readonly #check: () => void;

  constructor(shelf: Shelf, check: () => void) {
    this.#shelf = shelf;
    this.#check = check;
  }

  async createTopic({ name }: TopicSpec): Promise<"created" | "existing"> {
    this.#check();
    if (this.#shelf.topics.has(name)) return "existing";
    this.#shelf.topics.set(name, new Map());
    return "created";
  }

  async describeTopic(topic: string): Promise<TopicInfo | undefined> {
    this.#check();
    const groups = this.#shelf.topics.get(topic);
    return groups === undefined ? undefined : { partitions: 1, retention: undefined, groups: [...groups.keys()] };
  }

  async deleteTopic(topic: string): Promise<void> {
    this.#check();
    this.#shelf.remove(topic);
  }

  async createGroup(topic: string, group: string): Promise<"created" | "existing"> {
    this.#check();
    return createGroup(this.#shelf, topic, group);
  }

  async deleteGroup(topic: string, group: string): Promise<void> {
    this.#check();
    this.#shelf.remove(topic, group);
  }

  async position(): Promise<never> {
    throw absent("positions");
  }

  async seek(): Promise<void> {
    throw absent("way to move a group");
  }

  async lag(): Promise<never> {
    throw absent("count of what waits");
  }
}

/** A new group's queue gets everything that is put from now on: its start is as durable as the shelf. */
function createGroup(shelf: Shelf, topic: string, group: string): "created" | "existing" {
  const groups = shelf.groups(topic);
  if (groups.has(group)) return "existing";
  groups.set(group, new Queue());
  return "created";
}
// #endregion
