import { describe, expect, test } from "vitest";
import { bodies, bytes, Events, latest, never, Rig, text } from "./rig.ts";

const SHARED = { keyOrder: "process", coordination: true, topics: { partitions: 1 }, lease: { ms: 1_000 } } as const;

describe("registers", () => {
  test("are there where the record says so, and shared by all connections", async () => {
    const rig = await Rig.like(SHARED);
    const [a, b] = [rig.driver.coordination, (await rig.second()).coordination];
    expect(await a?.read("x/y", never)).toBeUndefined();
    const first = await a?.compareAndSet("x/y", undefined, bytes("one"), never);
    expect(text((await b?.read("x/y", never))?.value)).toBe("one");
    expect((await b?.read("x/y", never))?.revision).toBe(first);
    expect((await Rig.like({ coordination: false })).driver.coordination).toBeUndefined();
  });

  test("of two writers upon one revision one wins, and what it wrote stays what it was", async () => {
    const { coordination } = (await Rig.like(SHARED)).driver;
    const value = bytes("one");
    const [first, second] = await Promise.all([
      coordination?.compareAndSet("r", undefined, value, never),
      coordination?.compareAndSet("r", undefined, bytes("two"), never),
    ]);
    expect([typeof first, second]).toEqual(["string", undefined]);
    value.fill(0);
    expect(text((await coordination?.read("r", never))?.value)).toBe("one");
    const next = await coordination?.compareAndSet("r", first, bytes("three"), never);
    expect(next).not.toBe(first);
    expect(await coordination?.compareAndSet("r", first, bytes("four"), never)).toBeUndefined();
  });
});

describe("an exclusive subscription", () => {
  async function owned() {
    const rig = await Rig.like(SHARED);
    const claim = async () => {
      const events = new Events();
      const request = { topic: rig.topic, group: "billing", from: latest, credit: 1_000, exclusive: true, events };
      const subscription = await rig.driver.subscribe(request, never);
      return { subscription, events, take: (max = 1_000) => subscription.receive(max, 0, never) };
    };
    const former = await claim();
    await rig.publish("a:1", "b:1", "a:2", "b:2");
    return { rig, claim, former };
  }

  test("begins with what the former owner left, in order, whatever its leases, and then goes on", async () => {
    const { rig, claim, former } = await owned();
    const left = await former.take(3);
    await former.subscription.ack(left.slice(1, 2));
    const next = await claim();
    expect(former.events.shardsLost).toContain(left[0]?.shard);
    await rig.publish("a:3");
    expect(bodies(await next.take())).toEqual(["a:1", "a:2", "b:2", "a:3"]);
  });

  test("leaves the former owner nothing to settle and nothing to receive", async () => {
    const { claim, former } = await owned();
    const left = await former.take(2);
    const next = await claim();
    expect(await former.subscription.ack(left)).toEqual(["lost", "lost"]);
    expect(await former.subscription.extend?.(left, 10_000)).toEqual(["lost", "lost"]);
    expect(await former.take()).toEqual([]);
    expect(await next.take()).toHaveLength(4);
  });

  test("keeps what was given back for later before what is newer of its key", async () => {
    const { rig, claim } = await owned();
    const { subscription, take } = await claim();
    const [first] = await take(1);
    await subscription.nack?.([{ delivery: first as NonNullable<typeof first>, delayMs: 500, failures: 1 }]);
    expect(bodies(await take())).toEqual(["b:1", "b:2"]);
    rig.clock.advance(500);
    expect(bodies(await take())).toEqual(["a:1", "a:2"]);
  });
});
