/** What can stand in one chain. */
export interface Link<T> {
  previous: T | undefined;
  next: T | undefined;
}

/** A doubly linked list through its own items: adding and removing one costs two pointer writes and no allocation. */
export class Chain<T extends Link<T>> {
  #first: T | undefined;
  #last: T | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | undefined {
    return this.#first;
  }

  add(item: T): void {
    item.previous = this.#last;
    item.next = undefined;
    if (this.#last === undefined) this.#first = item;
    else this.#last.next = item;
    this.#last = item;
    this.#size++;
  }

  remove(item: T): void {
    if (item.previous === undefined) this.#first = item.next;
    else item.previous.next = item.next;
    if (item.next === undefined) this.#last = item.previous;
    else item.next.previous = item.previous;
    item.previous = undefined;
    item.next = undefined;
    this.#size--;
  }

  /** Items in order of adding. The one at hand may be removed while iterating. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let item = this.#first; item !== undefined; ) {
      const next: T | undefined = item.next;
      yield item;
      item = next;
    }
  }
}
