import { describe, expect, test } from "vitest";
import { timeoutSignal } from "../../../src/primitives/abort.ts";
import { VirtualClock } from "../../../src/testing/virtual-clock.ts";
import { Process, Registers, seeded, type Weather } from "./simulation.ts";

const PARTS = 7;
const TTL_MS = 1_000;
const STEP_MS = 10;

class Cluster {
  readonly clock = new VirtualClock();
  readonly registers = new Registers();
  readonly weather: Weather = { latencyMs: 5, lostCalls: 0, lostAnswers: 0, lateCalls: 0 };
  readonly processes: Process[] = [];
  readonly random: () => number;
  drainMs = 50;

  constructor(seed: number) {
    this.random = seeded(seed);
  }

  start(): Process {
    const { clock, registers, random, weather, drainMs } = this;
    const id = `p${this.processes.length}`;
    const one = new Process({ id, clock, registers, random, weather, parts: PARTS, ttlMs: TTL_MS, drainMs });
    this.processes.push(one);
    const bound = timeoutSignal(clock, TTL_MS * 2);
    // Who can't join tries again as another.
    one.membership.join(bound.signal).then(bound.done, () => one.leave());
    return one;
  }

  get alive(): readonly Process[] {
    return this.processes.filter((one) => one.alive);
  }

  /** Time passes, and at no moment two hold one partition. */
  async pass(ms: number): Promise<void> {
    for (const end = this.clock.monotonic() + ms; this.clock.monotonic() < end; ) {
      await this.clock.advance(STEP_MS);
      for (let part = 0; part < PARTS; part++) {
        const holders = this.processes.filter((one) => one.holds(part)).map((one) => one.id);
        if (holders.length > 1) throw new Error(`${holders.join(" and ")} hold ${part} at ${this.clock.monotonic()}`);
      }
    }
  }

  /** How many each living member has, largest first. */
  shares(): number[] {
    return this.alive.map((one) => one.owned.size).sort((a, b) => b - a);
  }
}

describe("members of a group", () => {
  test("alone has everything at once", async () => {
    const cluster = new Cluster(1);
    const one = cluster.start();
    await cluster.pass(50);
    expect(one.owned.size).toBe(PARTS);
  });

  test("share evenly as they come, each partition moving once at most, and as they leave", async () => {
    const cluster = new Cluster(2);
    cluster.start();
    await cluster.pass(TTL_MS / 2);
    const before = cluster.registers.writes;
    cluster.start();
    await cluster.pass(TTL_MS / 2);
    expect(cluster.shares()).toEqual([4, 3]);
    cluster.start();
    await cluster.pass(TTL_MS / 2);
    expect(cluster.shares()).toEqual([3, 2, 2]);
    expect(cluster.registers.writes - before).toBeLessThan(30);
    const [first] = cluster.processes;
    void first?.leave();
    await cluster.pass(TTL_MS / 2);
    expect(cluster.shares()).toEqual([4, 3]);
  });

  test("more than there are partitions: some have none, and take over when one leaves", async () => {
    const cluster = new Cluster(3);
    for (let n = 0; n < PARTS + 2; n++) cluster.start();
    await cluster.pass(TTL_MS * 2);
    expect(cluster.shares()).toEqual([1, 1, 1, 1, 1, 1, 1, 0, 0]);
    const busy = cluster.processes.find((one) => one.owned.size === 1);
    void busy?.leave();
    await cluster.pass(TTL_MS / 2);
    expect(cluster.shares()).toEqual([1, 1, 1, 1, 1, 1, 1, 0]);
  });

  test("a member that dies is replaced after its ttl, not before", async () => {
    const cluster = new Cluster(4);
    const dies = cluster.start();
    cluster.start();
    await cluster.pass(TTL_MS);
    dies.kill();
    await cluster.pass(TTL_MS * 0.6);
    expect(cluster.shares()[0]).toBeLessThan(PARTS);
    await cluster.pass(TTL_MS * 0.6);
    expect(cluster.shares()).toEqual([PARTS]);
  });

  test("a member that stood still for longer than its ttl holds nothing when it wakes up, and joins again", async () => {
    const cluster = new Cluster(5);
    const sleeps = cluster.start();
    cluster.start();
    await cluster.pass(TTL_MS);
    sleeps.freeze();
    await cluster.pass(TTL_MS * 3);
    expect(cluster.shares()[0]).toBe(PARTS);
    sleeps.thaw();
    expect([...Array(PARTS).keys()].filter((part) => sleeps.holds(part))).toEqual([]);
    await cluster.pass(TTL_MS);
    expect(cluster.shares()).toEqual([4, 3]);
  });

  test("a register that is wiped takes everything from everybody, and is begun again", async () => {
    const cluster = new Cluster(6);
    cluster.start();
    cluster.start();
    await cluster.pass(TTL_MS);
    cluster.registers.values.clear();
    await cluster.pass(TTL_MS * 2);
    expect(cluster.shares()).toEqual([4, 3]);
  });

  test("a register that can't be reached is given up before others may take over, and whoever waits is told", async () => {
    const cluster = new Cluster(7);
    const cut = cluster.start();
    await cluster.pass(TTL_MS);
    cluster.weather.lostCalls = 1;
    await cluster.pass(TTL_MS);
    expect(cut.owned.size).toBe(0);
  });
});

describe("whatever happens", () => {
  test.each([...Array(60).keys()])("no partition has two owners, and in the end each has one (seed %i)", async (seed) => {
    const cluster = new Cluster(100 + seed);
    const { random, weather } = cluster;
    cluster.drainMs = 10 + random() * TTL_MS;
    cluster.start();
    for (let event = 0; event < 25; event++) {
      const { alive } = cluster;
      const one = alive[Math.floor(random() * alive.length)];
      const what = random();
      if (what < 0.25 && alive.length < 6) cluster.start();
      else if (what < 0.4) one?.freeze();
      else if (what < 0.65) for (const frozen of cluster.processes) frozen.thaw();
      else if (what < 0.72 && alive.length > 1) one?.kill();
      else if (what < 0.8 && alive.length > 1) void one?.leave();
      else
        Object.assign(weather, {
          latencyMs: random() * 200,
          lostCalls: random() * 0.3,
          lostAnswers: random() * 0.3,
          lateCalls: random() * 0.3,
        });
      await cluster.pass(random() * TTL_MS * 1.2);
    }
    for (const frozen of cluster.processes) frozen.thaw();
    Object.assign(weather, { latencyMs: 5, lostCalls: 0, lostAnswers: 0, lateCalls: 0 });
    await cluster.pass(TTL_MS * 3);
    if (cluster.alive.length === 0) cluster.start();
    await cluster.pass(TTL_MS * 4 + cluster.drainMs * 3);
    const shares = cluster.shares();
    expect(shares.reduce((sum, share) => sum + share, 0)).toBe(PARTS);
    expect((shares[0] ?? 0) - (shares.at(-1) ?? 0)).toBeLessThanOrEqual(1);
  });
});
