import { describe, expect, it } from "vitest";
import { type Claims, check, type HistoryEvent, type Verdict } from "../src/checker/index.ts";
import { groups, randomFrom, simulate, topic } from "./checker-simulation.ts";

type Receive = HistoryEvent & { readonly f: "receive"; readonly type: "ok" };
type Event<F extends HistoryEvent["f"]> = HistoryEvent & { readonly f: F };

const seeds = [1, 2, 3, 20_261, 77_777];

const isReceive = (event: HistoryEvent): event is Receive => event.f === "receive" && event.type === "ok";
const of = (event: HistoryEvent, group: string, id: string): boolean =>
  event.f !== "crash" && "group" in event && event.group === group && "id" in event && event.id === id;

/** The events with `added` put behind event `after`, at the same time. */
function behind(events: readonly HistoryEvent[], after: HistoryEvent, ...added: HistoryEvent[]): HistoryEvent[] {
  const at = events.indexOf(after) + 1;
  return [...events.slice(0, at), ...added.map((event) => ({ ...event, t: after.t })), ...events.slice(at)];
}

/** A mutant takes a correct history and a source of choices, and gives one with a single defect. */
interface Mutant {
  readonly name: string;
  /** The verdict field that must name it. */
  readonly field: (verdict: Verdict) => number;
  readonly reason: RegExp;
  readonly mutate: (events: readonly HistoryEvent[], pick: <T>(from: readonly T[]) => T, claims: Claims) => HistoryEvent[];
  /** Claims that this mutant is judged by, where they differ. */
  readonly claims?: (claims: Claims) => Claims;
}

type Confirmed = Event<"publish"> & { readonly type: "ok" };
const confirmed = (events: readonly HistoryEvent[]): Confirmed[] =>
  events.filter((event): event is Confirmed => event.f === "publish" && event.type === "ok");
const receives = (events: readonly HistoryEvent[], group = groups[0]): Receive[] =>
  events.filter((event): event is Receive => isReceive(event) && event.group === group);
/** Receives of messages that the group received once and whose handler did not fail. */
const plain = (events: readonly HistoryEvent[], group = "billing"): Receive[] => {
  const counts = new Map<string, number>();
  for (const { id } of receives(events, group)) counts.set(id, (counts.get(id) ?? 0) + 1);
  return receives(events, group).filter(({ id }) => counts.get(id) === 1);
};

const mutants: readonly Mutant[] = [
  {
    name: "drops a message",
    field: (verdict) => verdict.lost.count,
    reason: /1 lost/,
    mutate: (events, pick) => {
      const victim = pick(confirmed(events));
      return events.filter((event) => !of(event, "audit", victim.id));
    },
  },
  {
    name: "drops the first messages of a group",
    field: (verdict) => verdict.lost.prefix,
    reason: /3 lost/,
    mutate: (events) => {
      const victims = confirmed(events)
        .map(({ id }) => id)
        .sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
        .slice(0, 3);
      return events.filter((event) => !victims.some((id) => of(event, "billing", id)));
    },
  },
  {
    name: "drops the last message",
    field: (verdict) => verdict.lost.postfix,
    reason: /1 lost/,
    mutate: (events) => {
      const last =
        confirmed(events)
          .map(({ id }) => id)
          .sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)))
          .at(-1) ?? "";
      return events.filter((event) => !of(event, "billing", last));
    },
  },
  {
    name: "confirms a publish that was never stored",
    field: (verdict) => verdict.lost.middle,
    reason: /1 lost/,
    mutate: (events, pick) => {
      const victim = pick(confirmed(events).slice(50, 300));
      return events.filter((event) => !groups.some((group) => of(event, group, victim.id)));
    },
  },
  {
    name: "alters a payload",
    field: (verdict) => verdict.phantom.altered,
    reason: /other content/,
    mutate: (events, pick) => {
      const victim = pick(receives(events));
      return events.map((event) => (event === victim ? { ...victim, hash: "truncated" } : event));
    },
  },
  {
    name: "delivers under another key",
    field: (verdict) => verdict.phantom.altered,
    reason: /other key/,
    mutate: (events, pick) => {
      const victim = pick(receives(events));
      return events.map((event) => (event === victim ? { ...victim, key: undefined } : event));
    },
  },
  {
    name: "invents a message",
    field: (verdict) => verdict.phantom.unknown,
    reason: /never published/,
    mutate: (events, pick) => {
      const model = pick(receives(events));
      return behind(events, model, { ...model, id: "invented", position: "9:1" });
    },
  },
  {
    name: "swaps two messages of a key",
    field: (verdict) => verdict.order.count,
    reason: /out of order/,
    mutate: (events, pick) => {
      const published = new Map(events.flatMap((event) => (event.f === "publish" && event.type === "invoke" ? [[event.id, event]] : [])));
      const all = plain(events);
      const first = pick(
        all.filter((event, n) =>
          all
            .slice(n + 1)
            .some((later) => published.get(later.id)?.process === published.get(event.id)?.process && later.key === event.key),
        ),
      );
      const second = all
        .slice(all.indexOf(first) + 1)
        .find((later) => published.get(later.id)?.process === published.get(first.id)?.process && later.key === first.key);
      if (second === undefined) throw new Error("no pair of one key");
      const swapped = (event: HistoryEvent): string | undefined =>
        of(event, "billing", first.id) ? second.id : of(event, "billing", second.id) ? first.id : undefined;
      return events.map((event) => {
        const id = swapped(event);
        if (id === undefined) return event;
        const model = id === first.id ? first : second;
        return isReceive(event) ? { ...event, id, hash: model.hash, position: model.position } : ({ ...event, id } as HistoryEvent);
      });
    },
  },
  {
    name: "delivers every message twice",
    field: (verdict) => Math.max(0, verdict.duplicates.count - verdict.duplicates.bound),
    reason: /duplicates, more than the bound/,
    mutate: (events) =>
      events.flatMap((event) =>
        isReceive(event) && event.group === "billing" ? [event, { ...event, type: "ok", f: "done" } as HistoryEvent, event] : [event],
      ),
  },
  {
    name: "delivers an acknowledged message again, within the sum of the bound",
    field: (verdict) => verdict.duplicates.unexplained.count,
    reason: /that no interruption explains/,
    mutate: (events, pick) => {
      // Acknowledged well before the first interruption: nothing entitles to a second delivery.
      const before = events.slice(0, events.findIndex((event) => event.f === "crash") - 300);
      const victim = pick(
        plain(before).filter((event) => before.some((other) => other.f === "ack" && other.type === "ok" && of(other, "billing", event.id))),
      );
      const last = events.at(-1);
      if (last === undefined) throw new Error("empty history");
      const done = { ...victim, f: "done" } as HistoryEvent;
      return behind(events, last, victim, done);
    },
  },
  {
    name: "stores a confirmed message twice",
    field: (verdict) => verdict.duplicates.stored,
    reason: /that no interruption explains/,
    mutate: (events, pick) => {
      const before = events.slice(
        0,
        events.findIndex((event) => event.f === "crash"),
      );
      const victim = pick(
        plain(before).filter((event) => before.some((other) => other.f === "ack" && other.type === "ok" && of(other, "billing", event.id))),
      );
      const last = events.at(-1);
      if (last === undefined) throw new Error("empty history");
      return behind(events, last, { ...victim, position: `${victim.position?.split(":")[0]}:99999` }, {
        ...victim,
        f: "done",
      } as HistoryEvent);
    },
  },
  {
    name: "acknowledges before the handler is done",
    field: (verdict) => verdict.earlyAck.count,
    reason: /acknowledged before they were done/,
    mutate: (events, pick) => {
      const victim = pick(plain(events).filter((event) => events.some((other) => other.f === "ack" && of(other, "billing", event.id))));
      const isAck = (event: HistoryEvent): boolean => event.f === "ack" && of(event, "billing", victim.id);
      return behind(
        events.filter((event) => !isAck(event)),
        victim,
        ...events.filter(isAck),
      );
    },
  },
  {
    name: "acknowledges what was never delivered there",
    field: (verdict) => verdict.earlyAck.count,
    reason: /without a delivery/,
    mutate: (events, pick) => {
      const victim = pick(events.filter((event): event is Event<"ack"> => event.f === "ack"));
      return events.map((event) => (event === victim ? { ...victim, process: "stranger" } : event));
    },
  },
  {
    name: "resumes past an unacknowledged message",
    field: (verdict) => verdict.gap.count,
    reason: /received and never settled/,
    mutate: (events, pick) => {
      // The successor of a killed worker never gets one message that the victim had in hand: the group's cursor went past it.
      const death = events.findIndex((event) => event.f === "crash" && event.unit === "process");
      const held = receives(events.slice(0, death)).filter(
        ({ id }) => !events.slice(0, death).some((event) => event.f === "ack" && of(event, "billing", id)),
      );
      const victim = pick(held.filter(({ id }) => events.slice(death).some((event) => isReceive(event) && of(event, "billing", id))));
      return events.filter((event, n) => n < death || !of(event, "billing", victim.id));
    },
  },
  {
    name: "forgets a failed message",
    field: (verdict) => verdict.gap.count,
    reason: /received and never settled/,
    mutate: (events, pick) => {
      const failure = pick(
        events.filter((event): event is Event<"done"> => event.f === "done" && event.type === "fail" && event.group === "billing"),
      );
      return events.filter((event, n) => n <= events.indexOf(failure) || !of(event, "billing", failure.id));
    },
  },
  {
    name: "puts two messages at one position",
    field: (verdict) => verdict.diverged.count,
    reason: /that hold two messages/,
    mutate: (events, pick) => {
      const [victim, other] = [pick(confirmed(events)), pick(confirmed(events).slice(-20))];
      return events.map((event) => (event === victim ? { ...victim, position: other.id === victim.id ? "0:0" : other.position } : event));
    },
  },
  {
    name: "stands still",
    field: (verdict) => verdict.stall.count,
    reason: /stalls longer than 5000 ms/,
    mutate: (events, pick) => {
      const at = events.indexOf(pick(receives(events).slice(20, 100)));
      return events.map((event, n) => (n < at ? event : { ...event, t: event.t + 9_000 }));
    },
  },
  {
    name: "takes long to come back",
    field: (verdict) => Math.max(0, (verdict.recoveryMs ?? 0) - 5_000),
    reason: /work resumed after/,
    mutate: (events) => {
      const at = events.findIndex((event) => event.f === "crash" && event.type === "ok");
      return events.map((event, n) => (n <= at ? event : { ...event, t: event.t + 6_000 }));
    },
  },
  {
    name: "hands a message of one group to another",
    field: (verdict) => verdict.lost.count,
    reason: /billing: 1 lost/,
    mutate: (events, pick) => {
      const victim = pick(plain(events));
      return events.map((event) => (of(event, "billing", victim.id) ? ({ ...event, group: "audit" } as HistoryEvent) : event));
    },
  },
  {
    name: "delivers to a group that nobody claims",
    field: (verdict) => verdict.reasons.filter((reason) => reason.includes("does not claim")).length,
    reason: /does not claim/,
    mutate: (events, pick) => {
      const model = pick(receives(events));
      return behind(events, model, { ...model, group: "stray" });
    },
  },
  {
    name: "gives one message to two members at once",
    field: (verdict) => verdict.overlap.count,
    reason: /overlapping handler runs/,
    mutate: (events, pick) => {
      const victim = pick(plain(events));
      const done = events.find((event) => event.f === "done" && of(event, "billing", victim.id));
      if (done === undefined) throw new Error("never done");
      return behind(behind(events, victim, { ...victim, process: "billing-9" }), done, { ...done, process: "billing-9" });
    },
    claims: (claims) => ({ ...claims, duplicates: "any", clockMs: 0 }),
  },
  {
    name: "leaves a publish hanging",
    field: (verdict) => verdict.published.hung.count,
    reason: /1 that never ended/,
    mutate: (events, pick) => {
      const victim = pick(confirmed(events));
      return events.filter((event) => event !== victim);
    },
  },
  {
    name: "settles without a delivery",
    field: (verdict) => verdict.reasons.filter((reason) => reason.includes("settled without a delivery")).length,
    reason: /settled without a delivery/,
    mutate: (events, pick) => {
      const model = pick(events.filter((event) => event.f === "done"));
      return behind(events, model, { ...model, process: "stranger" });
    },
  },
];

describe.each(seeds)("a simulated run with seed %i", (seed) => {
  const { events, claims } = simulate({ seed });

  it("is valid, with its redeliveries within the bound", () => {
    const verdict = check(events, claims);
    expect(verdict.reasons).toEqual([]);
    expect(verdict.valid).toBe(true);
    expect(verdict.published.acknowledged).toBeGreaterThan(500);
    expect(verdict.duplicates.count).toBeGreaterThan(0);
    expect(verdict.duplicates.count).toBeLessThanOrEqual(verdict.duplicates.bound);
    expect(verdict.duplicates.retries).toBeGreaterThan(0);
    expect(verdict.recoveryMs).toBeGreaterThan(0);
    expect(verdict.order.judged).toBe(verdict.received);
    expect(verdict.handled).toBe(verdict.received);
  });

  it("is valid too where acknowledging is by prefix", () => {
    const log = simulate({ seed, settle: "prefix" });
    expect(check(log.events, log.claims).reasons).toEqual([]);
  });

  it.each(mutants)("catches a system that $name", ({ name, mutate, field, reason, claims: adapt }) => {
    const random = randomFrom(seed + name.length);
    const pick = <T>(from: readonly T[]): T => {
      const chosen = from[Math.floor(random() * from.length)];
      if (chosen === undefined) throw new Error(`seed ${seed} gives nothing to mutate`);
      return chosen;
    };
    const judged = adapt?.(claims) ?? claims;
    expect(check(events, judged).valid).toBe(true);
    const verdict = check(mutate(events, pick, judged), judged);
    expect(field(verdict)).toBeGreaterThan(0);
    expect(verdict.reasons.join("\n")).toMatch(reason);
    expect(verdict.valid).toBe(false);
  });
});

it("judges a topic and its groups by name", () => {
  expect(simulate({ seed: 1, messages: 10 }).claims.groups).toEqual(groups.map((group) => ({ topic, group })));
});
