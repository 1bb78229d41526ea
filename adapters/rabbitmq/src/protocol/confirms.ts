import { noRoom, unavailable } from "../errors.ts";
import { type Link, within } from "./link.ts";
import { Publishes } from "./publishes.ts";

/**
 * The channel that is published over, opened when it is asked for. A server that refuses something closes it, which leaves everything under
 * way in doubt; the next call opens another.
 */
export class Confirms {
  readonly #link: Link;
  #opening: Promise<Publishes> | undefined;
  #open: Publishes | undefined;
  #blocked: string | undefined;
  #unblock: (() => void)[] = [];

  constructor(link: Link) {
    this.#link = link;
  }

  /** Why the server takes nothing for the time being. */
  get blocked(): string | undefined {
    return this.#blocked;
  }

  /** The server has said that it takes nothing, or again does. */
  block(reason: string | undefined): void {
    this.#blocked = reason;
    if (reason === undefined) for (const go of this.#unblock.splice(0)) go();
  }

  /** Waits until something can be sent. Rejects, with nothing sent, when the signal aborts or the link goes. */
  async ready(signal: AbortSignal): Promise<Publishes> {
    if (signal.aborted) throw unavailable("The publish was aborted before anything was sent.");
    if (this.#blocked !== undefined) await this.#unblocked(signal);
    if (this.#link.down !== undefined) throw this.#link.down;
    if (this.#open !== undefined) return this.#open;
    this.#opening ??= this.#channel();
    return await within(signal, this.#opening);
  }

  #unblocked(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const refuse = (): void => {
        this.#unblock = this.#unblock.filter((one) => one !== go);
        reject(alarm(this.#blocked, "Nothing was sent."));
      };
      const go = (): void => {
        signal.removeEventListener("abort", refuse);
        resolve();
      };
      signal.addEventListener("abort", refuse, { once: true });
      this.#unblock.push(go);
    });
  }

  #channel(): Promise<Publishes> {
    let publishes: Publishes | undefined;
    const closed = (error: Error): void => {
      if (this.#open === publishes) this.#open = undefined;
      this.#release();
      publishes?.fail(error);
    };
    const opening = this.#link.confirmChannel(closed).then((channel) => {
      publishes = new Publishes(channel);
      this.#open = publishes;
      return publishes;
    });
    const over = (): void => {
      this.#opening = undefined;
    };
    opening.then(over, over);
    return opening;
  }

  /** Whoever waits for the end of an alarm looks again. */
  #release(): void {
    for (const go of this.#unblock.splice(0)) go();
  }

  /** Nothing more is sent, and nothing that is under way will be answered. */
  fail(error: Error): void {
    this.#release();
    this.#open?.fail(error);
    this.#open = undefined;
  }
}

/** Publishes wait while an alarm is on; `what` says what became of this one. */
export function alarm(reason: string | undefined, what: string): Error {
  return noRoom(`The server takes no publishes: ${reason ?? "its alarm is on"}. ${what}`);
}
