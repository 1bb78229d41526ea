// Stands for a backend and its client library: topics whose groups each have a queue. It knows nothing of brokerkit.

export interface Item {
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly (readonly [string, Uint8Array])[];
  readonly body: Uint8Array | null;
  readonly at: number;
}

/** What this backend's client throws. */
export class ShelfError extends Error {
  readonly reason: "offline" | "no such topic" | "no such group";

  constructor(reason: ShelfError["reason"], text: string) {
    super(text);
    this.reason = reason;
  }
}

/** One group's messages that nobody holds, oldest first. */
export class Queue {
  items: Item[] = [];
  deleted = false;
  readonly #waiting = new Set<() => void>();

  add(items: readonly Item[]): void {
    this.items.push(...items);
    this.wake();
  }

  /** Back to the front, as if they had never left. */
  giveBack(items: readonly Item[]): void {
    this.items.unshift(...items);
    this.wake();
  }

  wake(): void {
    for (const run of [...this.#waiting]) run();
  }

  /** Calls `run` whenever there may be something; answers how to stop that. */
  onChange(run: () => void): () => void {
    this.#waiting.add(run);
    return () => void this.#waiting.delete(run);
  }
}

/** The server. */
export class Shelf {
  readonly topics: Map<string, Map<string, Queue>> = new Map();

  groups(topic: string): Map<string, Queue> {
    const groups = this.topics.get(topic);
    if (groups === undefined) throw new ShelfError("no such topic", `There is no shelf "${topic}".`);
    return groups;
  }

  /** Stores all or nothing. */
  put(topic: string, items: readonly Item[]): void {
    for (const queue of this.groups(topic).values()) queue.add(items);
  }

  remove(topic: string, group?: string): void {
    const groups = this.topics.get(topic);
    for (const [name, queue] of groups ?? []) {
      if (group !== undefined && name !== group) continue;
      groups?.delete(name);
      queue.deleted = true;
      queue.wake();
    }
    if (group === undefined) this.topics.delete(topic);
  }
}
