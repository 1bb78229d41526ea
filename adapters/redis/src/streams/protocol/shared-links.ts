import type { Link, OpenLink } from "../../client.ts";
import { unavailable } from "../../errors.ts";
import { within } from "../../protocol/bounds.ts";
import { Doorbell, type DoorbellWaits } from "./doorbell.ts";

interface Pair {
  readonly reader: Link;
  readonly bell: Doorbell;
}

/** Two connections, one to read and one to wait, for all members that own their topics alone, however many these are. */
export class SharedLinks {
  readonly #waits: DoorbellWaits & { readonly open: OpenLink };
  readonly #users = new Set<(error: Error) => void>();
  #pair: Promise<Pair> | undefined;
  #links: readonly Link[] = [];

  constructor(waits: DoorbellWaits & { readonly open: OpenLink }) {
    this.#waits = waits;
  }

  /** `onDown`: one of the two is lost, so both are given up. */
  async join(signal: AbortSignal, onDown: (error: Error) => void): Promise<Pair> {
    this.#pair ??= this.#connect();
    const pair = await within(signal, this.#pair);
    if (pair.reader.down !== undefined) throw pair.reader.down;
    // Not before: whoever has none of it, or gave up meanwhile, has nothing to be told.
    this.#users.add(onDown);
    return pair;
  }

  leave(onDown: (error: Error) => void): void {
    this.#users.delete(onDown);
  }

  close(error?: Error): void {
    this.#pair = undefined;
    for (const link of this.#links) link.destroy(error);
    this.#links = [];
  }

  async #connect(): Promise<Pair> {
    // Whoever asked first may give up; others count on it.
    const never = new AbortController().signal;
    const mine: Link[] = [];
    this.#links = mine;
    const lost = (error: Error): void => {
      if (this.#links !== mine) return;
      this.close(error);
      for (const tell of this.#users) tell(error);
    };
    const opened = async (): Promise<Link> => {
      const link = await this.#waits.open(never, lost);
      mine.push(link);
      if (this.#links === mine) return link;
      const reason = unavailable("The connection was closed while it was being opened.");
      link.destroy(reason);
      throw reason;
    };
    try {
      const reader = await opened();
      const waiter = await opened();
      if (reader.down !== undefined) throw reader.down;
      return { reader, bell: new Doorbell(waiter, this.#waits) };
    } catch (error) {
      if (this.#links === mine) this.close();
      throw error;
    }
  }
}
