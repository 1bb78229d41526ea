import type { Terms } from "./claims.ts";
import type { Delivery, Group, Interruption } from "./ledger.ts";
import { concerns } from "./order.ts";
import { deathsOf } from "./stall.ts";
import { Tally } from "./tally.ts";
import type { Finding } from "./verdict.ts";

interface Run {
  readonly delivery: Delivery;
  readonly id: string;
  /** When it stopped, for the process itself. */
  readonly end: number;
  /** When it stopped counting for others: it was done, or its process died, froze or lost the shard. */
  readonly endForOthers: number;
}

type Loss = Pick<Interruption, "from" | "stands">;

/** When each process lost what it held, in order. */
function lossesOf(group: Group, interruptions: readonly Interruption[]): ReadonlyMap<string, readonly Loss[]> {
  const losses = new Map<string, Loss[]>();
  for (const it of interruptions) {
    if (it.unit === "broker" || it.target === undefined || !concerns(it, group)) continue;
    const list = losses.get(it.target);
    if (list === undefined) losses.set(it.target, [it]);
    else list.push(it);
  }
  return losses;
}

/** `overlap`: pairs of handler runs of one key that ran at the same time. */
export function judgeOverlap(group: Group, terms: Terms, interruptions: readonly Interruption[]): Finding {
  const found = new Tally();
  if (terms.overlap === "none") return found.finding();
  const deaths = deathsOf(interruptions);
  const losses = lossesOf(group, interruptions);

  const keys = new Map<string, Run[]>();
  for (const { message, deliveries } of group.entries.values()) {
    if (message.key === undefined) continue;
    const name =
      terms.overlap === "process" ? (process: string): string => JSON.stringify([process, message.key]) : (): string => message.key ?? "";
    for (const delivery of deliveries) {
      const { process, t, doneT } = delivery;
      const end = Number.isNaN(doneT) ? Math.max(t, deaths.get(process) ?? Number.POSITIVE_INFINITY) : doneT;
      const lost = losses.get(process)?.find(({ stands }) => stands >= t);
      const run: Run = { delivery, id: message.id, end, endForOthers: Math.min(end, Math.max(t, lost?.from ?? Number.POSITIVE_INFINITY)) };
      const list = keys.get(name(process));
      if (list === undefined) keys.set(name(process), [run]);
      else list.push(run);
    }
  }

  for (const runs of keys.values()) {
    runs.sort((a, b) => a.delivery.t - b.delivery.t);
    let active: Run[] = [];
    for (const run of runs) {
      active = active.filter((other) => other.end > run.delivery.t);
      for (const other of active) {
        const same = other.delivery.process === run.delivery.process;
        if (same && run.delivery.run !== undefined && run.delivery.run === other.delivery.run) continue;
        if (!same && other.endForOthers - run.delivery.t <= terms.clockMs) continue;
        found.add(() => `${other.id} at ${other.delivery.process} and ${run.id} at ${run.delivery.process}`);
      }
      active.push(run);
    }
  }
  return found.finding();
}
