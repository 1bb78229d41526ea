// What the director and the processes of the tour say to each other: one JSON object a line, over standard input and output.
import type { Counts, DeadLettered, Moment } from "./witness.ts";

/** How a process is started: its only argument. The backend is in BROKER_URL, as for any application. */
export interface Job {
  readonly role: "producer" | "worker";
  /** Its name in the history. */
  readonly name: string;
  /** Folder of the history. */
  readonly history: string;
  /** Put before every topic's name: each run has topics of its own. */
  readonly prefix: string;
  /** Producers: orders to publish, and how many a second. */
  readonly orders: number;
  readonly perSecond: number;
  readonly customers: number;
  /** Producers: which of its orders nobody can bill before the fix; −1: none. */
  readonly poison: number;
}

export type Command =
  /** Workers: subscribe. */
  | { readonly say: "begin" }
  /** Producers: go on until so many are published. */
  | { readonly say: "upto"; readonly orders: number }
  /** Finish what is under way and end. */
  | { readonly say: "stop" };

export type Report =
  | { readonly say: "ready" }
  /** A worker is subscribed. `created`: there was no such group on its backend. `since`: the history's time of it. */
  | { readonly say: "begun"; readonly created: boolean; readonly since: number }
  | {
      readonly say: "news";
      /** Its broker's own account: connected, and every subscription runs. */
      readonly healthy: boolean;
      readonly counts: Counts;
      readonly handled: readonly string[];
      readonly buried: readonly DeadLettered[];
      readonly moment: Moment | undefined;
    }
  | { readonly say: "failed"; readonly error: string }
  | { readonly say: "ended" };

/** The id of a producer's nth order, from 0. */
export function orderId(producer: string, n: number): string {
  return `${producer}-${n}`;
}
