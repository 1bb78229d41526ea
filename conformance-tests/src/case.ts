import type { EffectiveCapabilities } from "brokerkit";
import type { Context } from "./context.ts";
import type { AdapterHarness } from "./harness.ts";

/** One property of an adapter, as data. Its id is stable: gaps, reports and docs name it. */
export interface Case {
  /** `<group>/<what>`. */
  readonly id: string;
  /** The property, in a sentence. */
  readonly states: string;
  /** Which records claim it. The record alone decides; absent: all of them. */
  requires?(capabilities: EffectiveCapabilities): boolean;
  /**
   * What is needed beside the record to try it: a URL (second processes), a server process of the suite's own (to kill, to pause), a plain
   * client. `harness/complete` fails where a harness with a server leaves one of them out.
   */
  readonly needs?: readonly Need[] | undefined;
  /** Why this harness can't try it, where that hangs on more than `needs`; `undefined`: it can. */
  lacks?(harness: AdapterHarness): string | undefined;
  /**
   * What may run beside it. Absent: all that is light as well. `heavy`: it has servers or processes of its own, or loads the machine, so that
   * two such cases are enough at a time. `alone`: it stops this process for a while, or counts what is in it.
   */
  readonly weight?: Weight | undefined;
  /** Longest run, ms. Default 30,000. */
  readonly limitMs?: number | undefined;
  run(t: Context): Promise<void>;
  /** Runs instead where `requires` says no: the call is refused before the wire. Absent where the level is no call. */
  twin?(t: Context): Promise<void>;
}

export type Weight = "heavy" | "alone";

export type Need = "url" | "server" | "foreign" | "expire" | "files";

export type Claim = (capabilities: EffectiveCapabilities) => boolean;

export const hasGroups: Claim = (c) => c.delivery.group !== "none";
/** Beside a topic's first group there can be others. Where there can't, the one group begins with its topic. */
export const hasMoreGroups: Claim = (c) => c.delivery.groups > 1;
export const hasBroadcast: Claim = (c) => c.delivery.broadcast !== "none";
export const redelivers: Claim = (c) => c.delivery.group === "at-least-once";
export const replays: Claim = (c) => c.from.replay.length > 0;
export const keepsDeadLetters: Claim = (c) => redelivers(c) && c.supply.deadLetter !== "none";
export const listsDeadLetters: Claim = (c) => keepsDeadLetters(c) && c.supply.deadLetterList !== "none";
export const redrives: Claim = (c) => listsDeadLetters(c) && c.supply.redrive !== "none";
export const hasInbox: Claim = (c) => redelivers(c) && c.supply.requeue !== "none";
export const leases: Claim = (c) => redelivers(c) && c.lease.ms > 0 && Number.isFinite(c.lease.ms);
export const seeks: Claim = (c) => c.seek !== "none";
export const countsLag: Claim = (c) => c.lag.count !== "none";
export const hasKeys: Claim = (c) => c.message.key;
export const hasHeaders: Claim = (c) => c.message.headers;
/** A kill of the backend's process loses nothing that was confirmed. */
export const survivesKill: Claim = (c) => c.durable && c.durabilityOnAck !== "none" && c.durabilityOnAck !== "memory";

export function all(...claims: readonly Claim[]): Claim {
  return (capabilities) => claims.every((claim) => claim(capabilities));
}
