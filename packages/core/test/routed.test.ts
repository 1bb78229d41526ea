import { describe, expect, test } from "vitest";
import { effectiveCapabilities } from "../src/capability/effective.ts";
import { featuresOf } from "../src/capability/features.ts";
import type { TopicDefinition } from "../src/definition.ts";
import type { Capabilities } from "../src/driver/capabilities.ts";
import type { Feature } from "../src/options.ts";
import { routed } from "../src/routed.ts";
import type { Broker, Health, Topic } from "../src/surface.ts";
import { EVERYTHING, withLeaf } from "./capability/records.ts";

interface Fake extends Broker {
  readonly calls: string[];
}

function fake(name: string, record: Capabilities = EVERYTHING, health: Partial<Health> = {}, pingMs = 1, closing?: Error): Fake {
  const calls: string[] = [];
  const broker = {
    calls,
    features: featuresOf(record),
    capabilities: effectiveCapabilities(record),
    topic: (topic: string | { name: string }) => ({ name: typeof topic === "string" ? topic : topic.name, from: name }) as unknown as Topic,
    supports: (...wanted: readonly Feature[]) => wanted.every((feature) => featuresOf(record)[feature]),
    provision: async (topics: readonly { name: string }[], o?: { dryRun?: boolean }) => {
      calls.push(`provision ${topics.map((topic) => topic.name).join()} ${o?.dryRun}`);
      return topics.map((topic) => ({ topic: topic.name, action: "none" as const, detail: name }));
    },
    health: () => ({ ready: true, live: true, connection: "connected" as const, subscriptions: [{ topic: name } as never], ...health }),
    ping: async () => pingMs,
    connect: async () => {
      calls.push("connect");
      return broker;
    },
    close: async (o?: { deadlineMs?: number }) => {
      calls.push(`close ${o?.deadlineMs}`);
      if (closing !== undefined) throw closing;
    },
    [Symbol.asyncDispose]: async () => {},
  };
  return broker as unknown as Fake;
}

const chosen = (broker: Broker, name: string): unknown => (broker.topic(name) as unknown as { from: string }).from;
const definitions = (...names: string[]): TopicDefinition[] => names.map((name) => ({ name }) as TopicDefinition);

describe("a routed broker", () => {
  const a = fake("exact");
  const b = fake("short");
  const c = fake("long");
  const all = routed({ "presence.*": b, "presence.room.*": c, "presence.room.one": a, "x*": c }, fake("fallback"));

  test.each([
    ["presence.room.one", "exact"],
    ["presence.room.one2", "long"],
    ["presence.room.two", "long"],
    ["presence.rooms", "short"],
    ["presence.", "short"],
    ["presence", "fallback"],
    ["x", "long"],
    ["Presence.a", "fallback"],
    ["other.presence.a", "fallback"],
  ])("gives the topic %s to the broker: %s", (name, expected) => {
    expect(chosen(all, name)).toBe(expected);
    expect((all.topic({ name } as TopicDefinition) as unknown as { from: string }).from).toBe(expected);
  });

  test("does not depend on the order in which patterns are written", () => {
    const other = routed({ "presence.room.one": a, "presence.room.*": c, "presence.*": b }, fake("fallback"));
    expect(["presence.room.one", "presence.room.x", "presence.x"].map((name) => chosen(other, name))).toEqual(["exact", "long", "short"]);
  });

  test.each(["*", "", "*.a", "a.*.b", "a**", "a b", "a?", ".a", "a.>", "a.#"])("refuses the pattern %j", (pattern) => {
    expect(() => routed({ [pattern]: a }, b)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT", details: { argument: "routes" } }),
    );
  });

  test("refuses what is no broker", () => {
    expect(() => routed({ a: Promise.resolve(a) as never }, b)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    expect(() => routed({ a }, undefined as never)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

describe("of several brokers", () => {
  const weak = withLeaf(withLeaf(EVERYTHING, "from.replay", []), "message.maxBytes", 10);
  const unshared = withLeaf(withLeaf(EVERYTHING, "coordination", false), "keyOrder", "process");
  const other = withLeaf(unshared, "message.maxHeaders", 5);

  test("features and capabilities are those that all have", () => {
    const all = routed({ a: fake("a", weak) }, fake("b", other));
    expect(all.features).toEqual({ ...featuresOf(EVERYTHING), replay: false, keyOrder: false });
    expect([all.capabilities.message.maxBytes, all.capabilities.message.maxHeaders, all.capabilities.keyOrder]).toEqual([10, 5, "process"]);
    expect([all.capabilities.supply.replay, all.capabilities.supply.keyOrder]).toEqual(["none", "portable"]);
    expect([all.supports("groups", "lag"), all.supports("groups", "replay")]).toEqual([true, false]);
  });

  test("health is the worst, ping the slowest, subscriptions those of all", async () => {
    const well = fake("a");
    const ill = fake("b", EVERYTHING, { ready: false, connection: "reconnecting" }, 7);
    const dead = fake("c", EVERYTHING, { live: false, connection: "closed" }, 3);
    expect(routed({ a: well }, well).health()).toMatchObject({ ready: true, live: true, connection: "connected" });
    expect(routed({ a: well }, ill).health()).toMatchObject({ ready: false, live: true, connection: "reconnecting" });
    const all = routed({ a: well, b: ill }, dead);
    expect(all.health()).toMatchObject({ ready: false, live: false, connection: "closed" });
    expect(all.health().subscriptions.map((one) => one.topic)).toEqual(["a", "b", "c"]);
    expect(await all.ping()).toBe(7);
  });

  test("provisioning is split, and answered in the order of asking", async () => {
    const a = fake("a");
    const b = fake("b");
    const unused = fake("c");
    const all = routed({ "a.*": a, "c.*": unused }, b);
    const results = await all.provision(definitions("b1", "a.1", "b2", "a.2"), { dryRun: true });
    expect(results.map((one) => `${one.topic} ${one.detail}`)).toEqual(["b1 b", "a.1 a", "b2 b", "a.2 a"]);
    expect([a.calls, b.calls, unused.calls]).toEqual([["provision a.1,a.2 true"], ["provision b1,b2 true"], []]);
  });

  test("each is connected and closed once, also when it serves several patterns", async () => {
    const a = fake("a");
    const b = fake("b");
    const all = routed({ "a.*": a, "b.*": a, c: b }, b);
    expect(await all.connect()).toBe(all);
    await all.close({ deadlineMs: 5 });
    expect([a.calls, b.calls]).toEqual([
      ["connect", "close 5"],
      ["connect", "close 5"],
    ]);
  });

  test("all are closed before the failure of one is told", async () => {
    const failing = fake("a", EVERYTHING, {}, 1, new Error("a would not close"));
    const b = fake("b");
    await expect(routed({ a: failing }, b)[Symbol.asyncDispose]()).rejects.toThrow("a would not close");
    expect(b.calls).toEqual(["close undefined"]);
  });
});
