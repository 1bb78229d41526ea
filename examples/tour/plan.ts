// What the tour can show on a backend, and why not: read from its capabilities alone.
import type { Claims, GroupClaims, KeyScope } from "@brokerkit/conformance/checker";
import type { EffectiveCapabilities } from "brokerkit";
import { GROUP, orders } from "./app.ts";

/** A step that is shown, or the words that say why it is not. */
export type Step = { readonly shown: true } | { readonly shown: false; readonly because: string };

export interface Plan {
  /** How people may call the backend: its URL's scheme. */
  readonly name: string;
  /** `broadcast`: without groups each worker is a subscriber of its own, and gets everything. */
  readonly way: "group" | "broadcast";
  readonly atLeastOnce: boolean;
  readonly order: KeyScope;
  /**
   * `kill`: a worker is killed; what it held must come again. `cut`: its link is; what it missed must be counted. Neither where a group
   * delivers at most once: what a dead member held is gone, and nobody is left to count it.
   */
  readonly fault: "kill" | "cut" | "none";
  readonly groups: Step;
  readonly deadLetter: Step;
  readonly replay: Step;
  /** From a time where the backend can, else from the beginning. */
  readonly replayFrom: "time" | "earliest";
  readonly lag: Step;
  readonly prefixSettled: boolean;
}

const SHOWN: Step = { shown: true };
const not = (because: string): Step => ({ shown: false, because });

export function planFor(url: string, c: EffectiveCapabilities): Plan {
  const name = url.slice(0, url.indexOf(":"));
  const { supply } = c;
  const way = c.delivery.group === "none" ? "broadcast" : "group";
  const atLeastOnce = c.delivery[way] === "at-least-once";
  return {
    name,
    way,
    atLeastOnce,
    order: c.keyOrder,
    fault: way === "broadcast" ? "cut" : atLeastOnce ? "kill" : "none",
    groups: way === "group" ? SHOWN : not(`${name} has no groups (delivery.group: none): each worker gets every order`),
    deadLetter: deadLetterStep(name, supply),
    replay: c.from.replay.length === 0 ? not(`${name} keeps nothing (replay: none)`) : SHOWN,
    replayFrom: c.from.replay.includes("time") ? "time" : "earliest",
    lag: c.lag.count === "none" || way === "broadcast" ? not(`${name} can't say what is outstanding (lag: ${c.lag.count})`) : SHOWN,
    prefixSettled: c.settle.unit === "prefix",
  };
}

function deadLetterStep(name: string, supply: EffectiveCapabilities["supply"]): Step {
  if (supply.deadLetter === "none") return not(`${name} can keep no message that failed (dead letter: none)`);
  if (supply.deadLetterList === "none") return not(`${name} can't list what it kept (dead letter list: none)`);
  if (supply.redrive === "none") return not(`${name} can't send it back to one group (redrive: none)`);
  return SHOWN;
}

/** The replay's name among the groups of the history. */
export const REPLAY = "replay";

/** A reader of the run: a worker on a backend without groups, or the replay. */
export interface Reader {
  readonly name: string;
  /** In the history's time: it owes what was published from `since` to `until`. */
  readonly since: number;
  readonly until?: number | undefined;
}

/** What the run claims before the checker; all of it comes from the capabilities. */
export function claimsOf(plan: Plan, workers: readonly Reader[], replay: Reader | undefined): Claims {
  const { atLeastOnce, order } = plan;
  const groups: GroupClaims[] =
    plan.way === "group"
      ? [{ topic: orders.name, group: GROUP, settle: plan.prefixSettled ? "prefix" : "each" }]
      : workers.map(({ name, since }) => ({ topic: orders.name, group: name, since, acks: "none", overlap: withinOne(order) }));
  if (replay !== undefined) {
    const { name: group, since, until } = replay;
    // One reader and no faults: each message once, one key's in order.
    groups.push({ topic: orders.name, group, since, until, acks: "none", atLeastOnce: true, order: withinOne(order) });
  }
  return { order: plan.way === "group" ? order : withinOne(order), atLeastOnce, groups };
}

/** Among the handlers of one process "members" and "process" are the same promise. */
function withinOne(order: KeyScope): KeyScope {
  return order === "none" ? "none" : "process";
}
