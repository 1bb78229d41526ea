import type { Shard, WireDelivery } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { type MemberRig, never, Rig, recordWith, text } from "./rig.ts";

/** A small generator of repeatable numbers (mulberry32). */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) % below;
  };
}

const LEASE = 1_000;

interface Out {
  readonly delivery: WireDelivery;
  readonly member: MemberRig;
}

/** What a group must be like, told as simply as possible, beside the group itself. */
class Model {
  readonly unacked = new Map<string, { readonly key: string; readonly seq: number; readonly failures: number }>();
  readonly out = new Map<string, Out>();
  readonly #rig: Rig;
  published = 0;

  constructor(rig: Rig) {
    this.#rig = rig;
  }

  get now(): number {
    return this.#rig.clock.monotonic();
  }

  isOut({ delivery }: Out): boolean {
    return delivery.leaseUntil > this.now;
  }

  tidy(): void {
    for (const [id, out] of this.out) if (!this.isOut(out)) this.out.delete(id);
  }

  /** A delivery may be handed out if nobody has it, and all older ones of its key are with the same member. */
  handed(member: MemberRig, delivery: WireDelivery): void {
    const id = String(delivery.id);
    const message = this.unacked.get(id);
    expect(message, `${id} was acknowledged, or never published`).toBeDefined();
    expect(this.out.has(id), `${id} is out already`).toBe(false);
    expect(delivery.failures).toBe(message?.failures);
    if (message !== undefined && message.key !== "") {
      for (const [other, { key, seq }] of this.unacked) {
        if (key !== message.key || other === id) continue;
        const out = this.out.get(other);
        if (out !== undefined) expect(out.member, `${key} is with two members`).toBe(member);
        else expect(seq, `${id} overtook ${other}`).toBeGreaterThan(message.seq);
      }
    }
    this.out.set(id, { delivery, member });
  }
}

async function run(seed: number, partitions: number, priorities: boolean): Promise<void> {
  const next = random(seed);
  const rig = await Rig.open({ leaseMs: LEASE }, { partitions });
  const model = new Model(rig);
  const members = [await rig.join(), await rig.join(), await rig.join()];
  const mine = (member: MemberRig) => [...model.out.values()].filter((out) => out.member === member).map(({ delivery }) => delivery);
  const some = <T>(items: readonly T[]): T[] => items.filter(() => next(3) === 0);

  const steps: Record<string, (member: MemberRig, n: number) => Promise<void>> = {
    publish: async () => {
      const records = Array.from({ length: next(8) }, () => {
        const key = next(4) === 0 ? "" : `k${next(5)}`;
        const record = rig.record(`${model.published}`, { ...(key === "" ? {} : { on: key }), priority: priorities ? next(3) : 0 });
        model.unacked.set(record.id, { key, seq: model.published++, failures: 0 });
        return record;
      });
      for (const result of await rig.publishRecords(...records)) expect(result.ok).toBe(true);
    },
    receive: async (member) => {
      for (const delivery of await member.take(1 + next(6))) model.handed(member, delivery);
    },
    ack: async (member) => {
      const chosen = some(mine(member));
      expect(await member.subscription.ack(chosen)).toEqual(chosen.map(() => "confirmed"));
      for (const { id } of chosen) {
        model.unacked.delete(String(id));
        model.out.delete(String(id));
      }
    },
    nack: async (member) => {
      const items = some(mine(member)).map((delivery) => ({ delivery, delayMs: next(3) * 200, failures: delivery.failures + 1 }));
      expect(await member.subscription.nack?.(items)).toEqual(items.map(() => "confirmed"));
      for (const { delivery, failures } of items) {
        const message = model.unacked.get(String(delivery.id));
        if (message !== undefined) model.unacked.set(String(delivery.id), { ...message, failures });
        model.out.delete(String(delivery.id));
      }
    },
    extend: async (member) => {
      const chosen = some(mine(member));
      expect(await member.subscription.extend?.(chosen, 500 * (1 + next(3)))).toEqual(chosen.map(() => "confirmed"));
    },
    wait: async () => {
      rig.clock.advance(next(400));
      model.tidy();
    },
    leave: async (member, n) => {
      if (next(4) > 0) return;
      await member.subscription.close();
      for (const [id, out] of model.out) if (out.member === member) model.out.delete(id);
      members[n] = await rig.join();
    },
  };

  for (let step = 0; step < 600; step++) {
    const n = next(members.length);
    const name = Object.keys(steps)[next(7)] ?? "";
    const member = members[n];
    if (member !== undefined) await steps[name]?.(member, n);
    const lag = await rig.driver.admin.lag(rig.topic, "billing", never);
    expect(lag).toMatchObject({ count: model.unacked.size, inFlight: model.out.size });
  }
  for (let quiet = 0; quiet < 20; quiet++) {
    rig.clock.advance(LEASE);
    model.tidy();
    for (const member of members) {
      const deliveries = await member.take();
      for (const delivery of deliveries) model.handed(member, delivery);
      await member.subscription.ack(deliveries);
      for (const { id } of deliveries) {
        model.unacked.delete(String(id));
        model.out.delete(String(id));
      }
    }
  }
  expect([...model.unacked.keys()]).toEqual([]);
  const replayed = (await rig.replay()).deliveries.map(({ body }) => Number(text(body)));
  expect(replayed.sort((a, b) => a - b)).toEqual(Array.from({ length: model.published }, (_, n) => n));
}

describe("whatever three members do, nothing is lost, nothing is out twice, and keys keep their order", () => {
  test.each(Array.from({ length: 12 }, (_, n) => [n + 1, 1 + (n % 3), n % 2 === 1] as const))("seed %i, %i shards, priorities: %s", run);
});

/** Three members that always wait: after every step, nothing may be left that one of them could have. */
async function watch(seed: number, partitions: number): Promise<void> {
  const next = random(seed);
  const rig = await Rig.open({ leaseMs: LEASE }, { partitions });
  const model = new Model(rig);
  const members: MemberRig[] = [];
  const wait = (member: MemberRig): void => {
    void member.subscription.receive(1 + next(4), Number.POSITIVE_INFINITY, never).then((deliveries) => {
      for (const delivery of deliveries) model.handed(member, delivery);
      if (members.includes(member)) wait(member);
    });
  };
  const enter = async (): Promise<void> => {
    const member = await rig.join();
    members.push(member);
    wait(member);
  };
  for (let n = 0; n < 3; n++) await enter();
  const chosen = (): Out[] => [...model.out.values()].filter((out) => model.isOut(out) && next(2) === 0);

  for (let step = 0; step < 400; step++) {
    const dice = next(10);
    if (dice < 4) {
      const on = `k${next(3)}`;
      const record = rig.record("x", { ...(next(4) === 0 ? {} : { on }), delayMs: next(4) === 0 ? 300 : 0 });
      const delayed = (record.delayMs ?? 0) > 0;
      // A delayed message takes its turn when it is due, so the model knows it without an order.
      model.unacked.set(record.id, { key: delayed || record.key === undefined ? "" : on, seq: model.published++, failures: 0 });
      await rig.publishRecords(record);
    } else if (dice < 6) {
      for (const { member, delivery } of chosen()) {
        expect(await member.subscription.ack([delivery])).toEqual(["confirmed"]);
        model.unacked.delete(String(delivery.id));
        model.out.delete(String(delivery.id));
      }
    } else if (dice < 7) {
      const [one] = members;
      const mine = chosen().filter(({ member }) => member === one);
      for (const { delivery } of mine) model.out.delete(String(delivery.id));
      await one?.subscription.nack?.(mine.map(({ delivery }) => ({ delivery, delayMs: next(2) * 300, failures: 0 })));
    } else if (dice < 9) {
      for (let ms = next(5) * 100; ms > 0; ms -= 100) {
        rig.clock.advance(100);
        model.tidy();
        await new Promise(setImmediate);
      }
    } else {
      const [member] = members.splice(next(3), 1);
      for (const [id, out] of model.out) if (out.member === member) model.out.delete(id);
      await member?.subscription.close();
      await enter();
    }
    await new Promise(setImmediate);
    for (const { take } of members) expect((await take()).map(({ id }) => id)).toEqual([]);
  }
  expect(rig.clock.pending).toBeLessThanOrEqual(2);
}

describe("whoever waits is woken by whatever makes a message free", () => {
  test.each([1, 2, 3, 4, 5, 6])("seed %i", (seed) => watch(seed, 1 + (seed % 2)));
});

/** A log's group: members come and go, and acknowledge heads. */
async function log(seed: number): Promise<void> {
  const next = random(seed);
  const like = recordWith({
    settle: { unit: "prefix", ack: "recorded" },
    redelivery: { native: false, counted: "none" },
    lease: { ms: 0, extend: false },
    priority: { levels: 0 },
    groupInbox: "stream",
  });
  const rig = await Rig.open({ like }, { partitions: 4 });
  const members = [await rig.join(), await rig.join()];
  /** What is owned, by ownership, in delivered order; and the next number of each shard that nobody acknowledged. */
  const owned = new Map<Shard, { readonly member: MemberRig; deliveries: WireDelivery[] }>();
  const floors = new Map<string, number>();
  const numberOf = ({ place }: WireDelivery): number => Number(place?.split(":")[1]);
  let published = 0;
  let acknowledged = 0;

  const receive = async (member: MemberRig): Promise<void> => {
    for (const delivery of await member.take(1 + next(9))) {
      const { shard } = delivery;
      for (const [other, { member: owner }] of owned) {
        if (other.id === shard.id && other !== shard && members.includes(owner))
          expect(owner.events.shardsLost, `${shard.id} has two owners`).toContain(other);
      }
      const own = owned.get(shard) ?? { member, deliveries: [] };
      owned.set(shard, own);
      const previous = own.deliveries.at(-1);
      expect(numberOf(delivery)).toBe(previous === undefined ? (floors.get(shard.id) ?? 0) : numberOf(previous) + 1);
      own.deliveries.push(delivery);
    }
  };
  const ack = async (own: { readonly member: MemberRig; deliveries: WireDelivery[] }, count: number): Promise<void> => {
    const head = own.deliveries[count - 1];
    if (head === undefined) return;
    const lost = own.member.events.shardsLost.includes(head.shard) || !members.includes(own.member);
    expect(await own.member.subscription.ack([head])).toEqual([lost ? "lost" : "recorded"]);
    own.deliveries = own.deliveries.slice(count);
    if (lost) return;
    acknowledged += numberOf(head) + 1 - (floors.get(head.shard.id) ?? 0);
    floors.set(head.shard.id, numberOf(head) + 1);
  };

  for (let step = 0; step < 500; step++) {
    const dice = next(12);
    const member = members[next(members.length)];
    if (dice < 4) {
      const records = Array.from({ length: next(6) }, () => rig.record("x", { on: `k${next(20)}` }));
      const inbox = next(4) === 0 ? [rig.record("y", { target: { topic: rig.topic, group: "billing" } })] : [];
      published += records.length + inbox.length;
      await rig.publishRecords(...records, ...inbox);
    } else if (dice < 7 && member !== undefined) await receive(member);
    else if (dice < 10) for (const own of owned.values()) await ack(own, next(own.deliveries.length + 1));
    else if (dice < 11 && members.length < 6) members.push(await rig.join());
    else if (members.length > 1) await members.splice(next(members.length), 1)[0]?.subscription.close();
    const lag = await rig.driver.admin.lag(rig.topic, "billing", never);
    expect(lag.count).toBe(published - acknowledged);
  }
  for (let quiet = 0; quiet < published; quiet++) {
    for (const member of members) await receive(member);
    for (const own of owned.values()) await ack(own, own.deliveries.length);
  }
  expect(acknowledged).toBe(published);
}

describe("a log's shards have one owner each, and lose nothing when they change hands", () => {
  test.each([1, 2, 3, 4, 5, 6])("seed %i", log);
});
