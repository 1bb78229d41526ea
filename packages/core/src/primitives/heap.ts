/** A binary heap by due time: the earliest first. */
export class Heap<T> {
  readonly #items: { due: number; order: number; item: T }[] = [];
  #order = 0;

  get size(): number {
    return this.#items.length;
  }

  /** When the earliest is due; `Infinity` when empty. */
  get due(): number {
    return this.#items[0]?.due ?? Number.POSITIVE_INFINITY;
  }

  add(due: number, item: T): void {
    const items = this.#items;
    const added = { due, order: this.#order++, item };
    let at = items.length;
    items.push(added);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = items[parent] as { due: number; order: number; item: T };
      if (!before(added, above)) break;
      items[at] = above;
      at = parent;
    }
    items[at] = added;
  }

  /** Takes the earliest if it is due at `now`. Equal times come out in the order they went in. */
  take(now: number): T | undefined {
    const items = this.#items;
    const first = items[0];
    if (first === undefined || first.due > now) return undefined;
    const last = items.pop() as { due: number; order: number; item: T };
    if (items.length > 0) this.#sink(last);
    return first.item;
  }

  /** Keeps what `keep` says yes to. */
  filter(keep: (item: T) => boolean): void {
    for (const { due, item } of this.#items.splice(0).sort((a, b) => (before(a, b) ? -1 : 1))) if (keep(item)) this.add(due, item);
  }

  /** Removes and returns everything, in no order. */
  drain(): T[] {
    return this.#items.splice(0).map((entry) => entry.item);
  }

  #sink(moved: { due: number; order: number; item: T }): void {
    const items = this.#items;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= items.length) break;
      const right = items[child + 1];
      if (right !== undefined && before(right, items[child] as typeof moved)) child++;
      const below = items[child] as typeof moved;
      if (!before(below, moved)) break;
      items[at] = below;
      at = child;
    }
    items[at] = moved;
  }
}

function before(a: { due: number; order: number }, b: { due: number; order: number }): boolean {
  return a.due < b.due || (a.due === b.due && a.order < b.order);
}
