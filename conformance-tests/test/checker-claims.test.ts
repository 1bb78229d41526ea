import { describe, expect, it } from "vitest";
import { type Claims, check, type HistoryEvent, type HistoryRecord, type Verdict } from "../src/checker/index.ts";

/** Writes a history by hand: one call per event, a millisecond apart. */
class Script {
  readonly events: HistoryEvent[] = [];
  #t = 1_000;
  readonly #counts = new Map<string, number>();

  at(process: string, event: HistoryRecord): this {
    const i = this.#counts.get(process) ?? 0;
    this.#counts.set(process, i + 1);
    this.events.push({ i, t: this.#t, process, ...event });
    this.#t += 1;
    return this;
  }
  wait(ms: number): this {
    this.#t += ms;
    return this;
  }
  get now(): number {
    return this.#t;
  }
  begin(id: string, seq: number, key: string | undefined = "k"): this {
    return this.at("web", { type: "invoke", f: "publish", topic: "t", key, id, seq, hash: `h${id}` });
  }
  end(id: string, type: "ok" | "fail" | "info" = "ok", position?: string): this {
    return this.at("web", { type, f: "publish", topic: "t", id, position });
  }
  publish(id: string, seq: number, key: string | undefined = "k", position?: string): this {
    return this.begin(id, seq, key).end(id, "ok", position);
  }
  receive(process: string, id: string, key: string | undefined = "k", position?: string, run?: number): this {
    return this.at(process, { type: "ok", f: "receive", topic: "t", group: "g", key, id, hash: `h${id}`, position, run });
  }
  done(process: string, id: string, type: "ok" | "fail" = "ok"): this {
    return this.at(process, { type, f: "done", topic: "t", group: "g", id });
  }
  ack(process: string, id: string, type: "ok" | "info" | "fail" = "ok"): this {
    return this.at(process, { type: "invoke", f: "ack", topic: "t", group: "g", id }).at(process, {
      type,
      f: "ack",
      topic: "t",
      group: "g",
      id,
    });
  }
  handle(process: string, id: string, key: string | undefined = "k", position?: string): this {
    return this.receive(process, id, key, position).done(process, id).ack(process, id);
  }
  lost(process: string, lost: number | null): this {
    return this.at(process, { type: "info", f: "receive", topic: "t", group: "g", lost });
  }
  crash(unit: "process" | "broker" | "shard", target?: string): this {
    return this.at(unit === "shard" && target !== undefined ? target : "nemesis", { type: "info", f: "crash", unit, target });
  }
  back(unit: "process" | "broker", target?: string): this {
    return this.at("nemesis", { type: "ok", f: "crash", unit, target });
  }
  check(claims: Partial<Claims> = {}): Verdict {
    return check(this.events, { order: "members", atLeastOnce: true, groups: [{ topic: "t", group: "g" }], ...claims });
  }
}

const script = (): Script => new Script();

describe("what a group is owed", () => {
  it("leaves out what was published before the group's start and confirmed after its end", () => {
    const run = script().publish("early", 1);
    const since = run.now;
    run.publish("mine", 2).handle("w", "mine");
    const until = run.now;
    run.publish("late", 3);
    expect(run.check({ groups: [{ topic: "t", group: "g", since, until }] }).reasons).toEqual([]);
    expect(run.check().lost).toMatchObject({ count: 2, prefix: 1, middle: 0, postfix: 1 });
  });

  it("judges a claimed group of which the history knows nothing", () => {
    const verdict = script()
      .publish("a", 1)
      .check({ groups: [{ topic: "t", group: "absent" }] });
    expect(verdict.lost).toMatchObject({ count: 1, prefix: 1 });
    expect(verdict.valid).toBe(false);
  });

  it("owes nothing that was not confirmed, and counts what came of it as recovered", () => {
    const run = script()
      .begin("doubt", 1)
      .end("doubt", "info")
      .begin("failed", 2)
      .end("failed", "fail")
      .begin("gone", 3)
      .end("gone", "info");
    const verdict = run.handle("w", "doubt").handle("w", "failed").check();
    expect(verdict.recovered).toMatchObject({ count: 2, inDoubt: 1, failed: 1 });
    expect(verdict.published).toMatchObject({ messages: 3, acknowledged: 0, failed: 1, inDoubt: 2 });
    expect(verdict.notes.join()).toContain("said to have failed");
    expect(verdict.valid).toBe(true);
  });

  it("takes an unfinished publish of a killed producer for one in doubt", () => {
    const verdict = script().begin("a", 1).crash("process", "web").handle("w", "a").handle("w", "a").check();
    expect(verdict.published.hung.count).toBe(0);
    expect(verdict.duplicates).toMatchObject({ count: 1, bound: 1, inDoubt: 1 });
    expect(verdict.valid).toBe(true);
  });
});

describe("losses of an at-most-once path", () => {
  const three = (): Script => script().publish("a", 1).publish("b", 2).publish("c", 3).receive("w", "a").receive("w", "c");
  const claims: Partial<Claims> = { atLeastOnce: false, acks: "none", overlap: "none" };

  it("are fine when the SDK reported as many", () => {
    expect(three().lost("w", 1).check(claims)).toMatchObject({ valid: true, lost: { count: 1, middle: 1, reported: 1 } });
  });
  it("are not fine when it reported fewer or more", () => {
    expect(three().check(claims).reasons).toEqual(["t/g: 1 are lost, but the SDK reported 0"]);
    expect(three().lost("w", 2).check(claims).reasons).toEqual(["t/g: the SDK reported 2 lost, but only 1 are"]);
  });
  it("may be unknown to it, if it says so", () => {
    expect(three().lost("w", null).check(claims)).toMatchObject({ valid: true, lost: { count: 1, reported: 0, unknown: true } });
  });
  it("may include publishes in doubt, which took a number and never came", () => {
    const run = three().begin("d", 4).end("d", "info");
    expect(run.lost("w", 2).check(claims).valid).toBe(true);
  });
  it("need not be counted where nothing can count them", () => {
    expect(three().check({ ...claims, losses: "any" }).valid).toBe(true);
  });
});

describe("redeliveries", () => {
  it("are retries after a failed handler or a nack, one for each", () => {
    const run = script().publish("a", 1).receive("w", "a").done("w", "a", "fail").receive("w", "a");
    run.at("w", { type: "invoke", f: "nack", topic: "t", group: "g", id: "a" }).handle("v", "a");
    expect(run.check()).toMatchObject({ valid: true, duplicates: { count: 0, retries: 2 } });
    expect(run.handle("v", "a").check()).toMatchObject({ valid: false, duplicates: { count: 1, retries: 2, bound: 0 } });
  });

  it("are explained by a broker restart only while no acknowledgement was durable", () => {
    const before = script().publish("a", 1).publish("b", 2, "k2").handle("w", "a").receive("w", "b", "k2").done("w", "b");
    before.crash("broker").back("broker");
    expect(before.handle("w", "b", "k2").check({ duplicates: "each" })).toMatchObject({ valid: true, duplicates: { count: 1, bound: 1 } });
    expect(before.handle("w", "a").check({ duplicates: "each" })).toMatchObject({
      valid: false,
      duplicates: { count: 2, bound: 1, unexplained: { count: 1 } },
    });
  });

  it("count an acknowledgement that was only written as not durable", () => {
    const run = script()
      .publish("a", 1)
      .receive("w", "a")
      .done("w", "a")
      .ack("w", "a", "info")
      .crash("broker")
      .back("broker")
      .handle("w", "a");
    expect(run.check()).toMatchObject({ valid: true, duplicates: { count: 1, bound: 1 } });
  });

  it("count an acknowledgement as durable only after ackSettleMs", () => {
    const run = script().publish("a", 1).handle("w", "a").crash("broker").back("broker").handle("w", "a");
    expect(run.check().valid).toBe(false);
    expect(run.check({ ackSettleMs: 50 }).valid).toBe(true);
  });

  it("are explained by the death of a process for what it held, also what it received while the signal was on its way", () => {
    const run = script().publish("a", 1).publish("b", 2, "k2").publish("c", 3, "k3");
    run.receive("w", "a").crash("process", "w").receive("w", "b", "k2").receive("v", "c", "k3");
    run.handle("v", "a").handle("v", "b", "k2").done("v", "c").ack("v", "c");
    expect(run.check({ duplicates: "each" })).toMatchObject({ valid: true, duplicates: { count: 2, bound: 2 } });
    const other = script().publish("a", 1).receive("w", "a").crash("process", "x").done("w", "a").ack("w", "a").handle("v", "a");
    expect(other.check()).toMatchObject({ valid: false, duplicates: { count: 1, bound: 0 } });
  });

  it("are explained by a lost shard for that shard alone", () => {
    const run = (shard: string): Verdict =>
      script()
        .publish("a", 1)
        .receive("w", "a", "k", "0:1")
        .at("w", { type: "info", f: "crash", unit: "shard", topic: "t", group: "g", shard })
        .done("w", "a")
        .handle("v", "a", "k", "0:1")
        .check({ overlap: "none" });
    expect(run("0")).toMatchObject({ valid: true, duplicates: { bound: 1 } });
    expect(run("1")).toMatchObject({ valid: false, duplicates: { bound: 0 } });
  });

  it("reach back to the first gap where acknowledging is by prefix", () => {
    const run = script().publish("a", 1, "x").publish("b", 2, "y").publish("c", 3, "z");
    run.handle("w", "a", "x", "0:8").receive("w", "b", "y", "0:9").handle("w", "c", "z", "0:10").crash("process", "w");
    run.handle("v", "b", "y", "0:9").handle("v", "c", "z", "0:10");
    expect(run.check({ settle: "prefix", duplicates: "each" })).toMatchObject({ valid: true, duplicates: { count: 2, bound: 2 } });
    expect(run.check({ settle: "each" })).toMatchObject({ valid: false, duplicates: { count: 2, bound: 1 } });
  });

  it("see a copy of a publish that was under way while the broker was interrupted", () => {
    const run = script().begin("a", 1).crash("broker").back("broker").end("a", "ok", "0:1");
    run.handle("w", "a", "k", "0:1").handle("w", "a", "k", "0:2");
    expect(run.check({ duplicates: "each" })).toMatchObject({ valid: true, duplicates: { count: 1, stored: 1, bound: 1, inDoubt: 1 } });
  });

  it("are only counted where nothing is promised", () => {
    expect(script().publish("a", 1).handle("w", "a").handle("w", "a").check({ duplicates: "any" }).valid).toBe(true);
  });
});

describe("settling", () => {
  it("takes done for acknowledged where acknowledgements are implied", () => {
    const run = script().publish("a", 1).receive("w", "a").done("w", "a");
    expect(run.check()).toMatchObject({ valid: false, gap: { count: 1 } });
    expect(run.check({ acks: "implied" }).valid).toBe(true);
  });

  it("takes an acknowledgement that was refused for none", () => {
    const run = script().publish("a", 1).receive("w", "a").done("w", "a").ack("w", "a", "fail");
    expect(run.check()).toMatchObject({ valid: false, gap: { count: 1 } });
  });

  it("lets a message that was never confirmed go with its server, and no other", () => {
    const killed = (confirmed: "ok" | "info"): Script =>
      script().begin("a", 1).receive("w", "a").crash("broker").end("a", confirmed).done("w", "a").ack("w", "a", "fail").back("broker");
    expect(killed("info").check().valid).toBe(true);
    expect(killed("ok").check()).toMatchObject({ valid: false, gap: { count: 1 } });
    // What came again after the server did was there.
    expect(killed("info").receive("w", "a").check()).toMatchObject({ valid: false, gap: { count: 1 } });
    const member = script().begin("a", 1).receive("w", "a").end("a", "info").crash("shard", "w").ack("w", "a", "fail");
    expect(member.check()).toMatchObject({ valid: false, gap: { count: 1 } });
  });

  it("lets a failed message be acknowledged: it went to the dead letters", () => {
    expect(script().publish("a", 1).receive("w", "a").done("w", "a", "fail").ack("w", "a").check().valid).toBe(true);
  });

  it("finds the delivery that is meant by its run", () => {
    const run = script().publish("a", 1).receive("w", "a", "k", undefined, 1).done("w", "a").receive("w", "a", "k", undefined, 2);
    run.at("w", { type: "invoke", f: "ack", topic: "t", group: "g", id: "a", run: 1 });
    expect(run.check({ duplicates: "any" }).earlyAck.count).toBe(0);
    run.at("w", { type: "invoke", f: "ack", topic: "t", group: "g", id: "a", run: 2 });
    expect(run.check({ duplicates: "any" }).earlyAck.count).toBe(1);
  });
});

describe("order", () => {
  const crossed = (): Script => script().publish("a", 1).publish("b", 2).handle("w", "b").handle("v", "a");

  it("is judged over all members, within each process, or not at all", () => {
    expect(crossed().check()).toMatchObject({ valid: false, order: { count: 1, judged: 2 } });
    expect(crossed().check({ order: "process" }).valid).toBe(true);
    expect(crossed().check({ order: "none" }).order.judged).toBe(0);
  });

  it("takes a late copy of an older message for a duplicate", () => {
    const run = script()
      .publish("a", 1)
      .publish("b", 2)
      .receive("w", "a")
      .done("w", "a")
      .handle("w", "b")
      .crash("broker")
      .back("broker")
      .handle("w", "a");
    expect(run.check()).toMatchObject({ valid: true, order: { count: 0 }, duplicates: { count: 1 } });
  });

  it("is, within a process, not judged for what a dead member may have had in its buffer", () => {
    const run = script().publish("a", 1).publish("b", 2).handle("v", "b");
    expect(script().publish("a", 1).publish("b", 2).handle("v", "b").handle("v", "a").check({ order: "process" }).order.count).toBe(1);
    expect(run.crash("process", "w").handle("v", "a").check({ order: "process" })).toMatchObject({
      valid: true,
      order: { count: 0, exempt: 1 },
    });
    expect(run.check({ order: "members" }).order.count).toBe(1);
  });

  it("is not judged for what the application published a second time", () => {
    const run = script().begin("a", 1).end("a", "info").publish("b", 2).publish("a", 1).handle("w", "b").handle("w", "a");
    expect(run.check()).toMatchObject({ valid: true, order: { exempt: 1 } });
  });

  it("knows nothing of messages without a key", () => {
    const plain = (id: string): HistoryRecord => ({ type: "ok", f: "receive", topic: "t", group: "g", id, hash: `h${id}` });
    const run = script();
    for (const [id, seq] of [
      ["a", 1],
      ["b", 2],
    ] as const) {
      run.at("web", { type: "invoke", f: "publish", topic: "t", id, seq, hash: `h${id}` }).end(id);
    }
    for (const id of ["b", "a"]) run.at("w", plain(id)).done("w", id).ack("w", id);
    expect(run.check()).toMatchObject({ valid: true, order: { judged: 0 } });
  });
});

describe("overlap", () => {
  const both = (v: string): Script =>
    script().publish("a", 1).publish("b", 2).receive("w", "a").receive(v, "b").done("w", "a").done(v, "b").ack("w", "a").ack(v, "b");

  it("is judged over members or within a process", () => {
    expect(both("v").check()).toMatchObject({ valid: false, overlap: { count: 1 } });
    expect(both("v").check({ overlap: "process" }).overlap.count).toBe(0);
    expect(both("w").check({ overlap: "process" }).overlap.count).toBe(1);
    expect(both("w").check({ overlap: "none" }).valid).toBe(true);
  });

  it("forgives two processes' clocks", () => {
    expect(both("v").check({ clockMs: 2 }).valid).toBe(true);
    expect(both("w").check({ clockMs: 2 }).valid).toBe(false);
  });

  it("ends for others when the process died, froze or lost the shard", () => {
    for (const unit of ["process", "shard"] as const) {
      const run = script().publish("a", 1).receive("w", "a").crash(unit, "w").wait(5).handle("v", "a");
      if (unit === "shard") run.done("w", "a");
      expect(run.check()).toMatchObject({ valid: true, overlap: { count: 0 }, duplicates: { count: 1, bound: 1 } });
    }
  });

  it("ends as well for a run that began after the freeze was written down and before it took hold", () => {
    const run = script().publish("a", 1).crash("process", "w").wait(2).receive("w", "a").wait(2).handle("v", "a").wait(40);
    expect(run.back("process", "w").done("w", "a").check()).toMatchObject({ valid: true, overlap: { count: 0 }, duplicates: { bound: 1 } });
  });

  it("ends as well for the one that a process stood still in, which it writes down when it wakes up, and for no other", () => {
    /** While "w" stands still "v" handles "a" and has begun with the next of its key. */
    const frozen = (): Script =>
      script()
        .publish("c", 1, "other")
        .publish("a", 1)
        .publish("b", 2)
        .handle("w", "c", "other")
        .crash("process", "w")
        .wait(40)
        .handle("v", "a")
        .receive("v", "b");
    for (const run of [frozen().back("process", "w").receive("w", "a"), frozen().receive("w", "a").back("process", "w")]) {
      const late = run.done("w", "a").ack("w", "a", "fail").done("v", "b").ack("v", "b");
      expect(late.check()).toMatchObject({ valid: true, overlap: { count: 0 }, duplicates: { count: 1, bound: 1 } });
    }
    const second = frozen().back("process", "w").receive("w", "a").receive("w", "b");
    const late = second.done("w", "a").ack("w", "a", "fail").done("w", "b").ack("w", "b", "fail").done("v", "b").ack("v", "b");
    expect(late.check()).toMatchObject({ valid: false, overlap: { count: 2 }, duplicates: { count: 2, bound: 1 } });
  });

  it("is found after a process was frozen twice with nothing between", () => {
    const run = script().publish("c", 1, "other").publish("a", 1).publish("b", 2);
    for (let n = 0; n < 2; n++) run.crash("process", "w").wait(5).back("process", "w");
    run.handle("w", "c", "other").receive("w", "a").receive("v", "b").done("w", "a").done("v", "b");
    expect(run.check().overlap.count).toBe(1);
  });

  it("is none within one batch", () => {
    const run = script().publish("a", 1).publish("b", 2).receive("w", "a", "k", undefined, 7).receive("w", "b", "k", undefined, 7);
    expect(run.done("w", "a").done("w", "b").ack("w", "a").ack("w", "b").check().reasons).toEqual([]);
  });
});

describe("a stall", () => {
  it("needs outstanding work", () => {
    const idle = script().publish("a", 1).handle("w", "a").wait(9_000).publish("b", 2).handle("w", "b");
    expect(idle.check({ stallMs: 1_000 })).toMatchObject({ valid: true, stall: { count: 0 } });
    const waiting = script().publish("a", 1).publish("b", 2).handle("w", "a").wait(9_000).handle("w", "b");
    expect(waiting.check({ stallMs: 1_000 })).toMatchObject({ valid: false, stall: { count: 1 } });
    const hanging = script().publish("a", 1).receive("w", "a").wait(9_000).done("w", "a").ack("w", "a");
    expect(hanging.check({ stallMs: 1_000 }).stall.count).toBe(1);
  });

  it("does not count the time in which the broker was away, and recovery begins when it is back", () => {
    const run = script()
      .publish("a", 1)
      .publish("b", 2)
      .handle("w", "a")
      .crash("broker")
      .wait(9_000)
      .back("broker")
      .wait(500)
      .handle("w", "b");
    const verdict = run.check({ stallMs: 1_000, recoveryMs: 1_000 });
    expect(verdict.reasons).toEqual([]);
    expect(verdict.recoveryMs).toBeCloseTo(501, 0);
    expect(verdict.stall.longestMs).toBeCloseTo(501, 0);
    expect(run.check({ recoveryMs: 400 }).reasons).toEqual(["t/g: work resumed after 501 ms, later than 400 ms"]);
  });

  it("is reported, not judged, without a limit", () => {
    const run = script().publish("a", 1).publish("b", 2).handle("w", "a").wait(9_000).handle("w", "b");
    expect(run.check()).toMatchObject({ valid: true, stall: { count: 0 } });
    expect(run.check().stall.longestMs).toBeGreaterThan(8_999);
  });
});

it("lets one group promise something else than the rest", () => {
  const run = script().publish("a", 1).publish("b", 2).handle("w", "b").handle("w", "a");
  for (const id of ["a", "b"]) run.at("s", { type: "ok", f: "receive", topic: "t", group: "live:s", key: "k", id, hash: `h${id}` });
  const verdict = run.check({
    groups: [
      { topic: "t", group: "g", order: "none" },
      { topic: "t", group: "live:s", acks: "none" },
    ],
  });
  expect(verdict.reasons).toEqual([]);
  expect(verdict.groups.map(({ order }) => order.judged)).toEqual([0, 2]);
});
