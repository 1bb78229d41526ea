import { isBrokerError } from "brokerkit";
import { type Adapter, type Driver, driverError, type Subscription } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { VirtualClock } from "../../../src/testing/virtual-clock.ts";
import { broker, changed, define, LEASE_MS, like, reachable } from "./rig.ts";

const KEYS = Array.from({ length: 40 }, (_, n) => `k${n}`);

/** What one member's handlers did. */
class Log {
  readonly payloads: unknown[] = [];
  readonly keys = new Set<string | undefined>();
  hold: Promise<void> | undefined;

  readonly handler = async (message: { payload: unknown; key: string | undefined }): Promise<void> => {
    this.payloads.push(message.payload);
    this.keys.add(message.key);
    await this.hold;
  };
}

/** Two or more brokers on one backend, each with a member of group "g". */
class Party {
  readonly clock = new VirtualClock();
  readonly adapter: Adapter;

  constructor(adapter: Adapter = like()) {
    this.adapter = adapter;
  }

  async join(log: Log, adapter: Adapter = this.adapter) {
    const one = await broker(adapter, this.clock);
    const topic = one.topic(define("orders", 8));
    const subscription = await topic.subscribe({ group: "g", concurrency: 16 }, log.handler);
    return { broker: one, topic, subscription };
  }

  async pass(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }
}

const publishAll = (topic: { publish(payload: unknown, o: object): Promise<unknown> }, prefix: string): Promise<unknown> =>
  Promise.all(KEYS.map((key) => topic.publish(`${prefix}-${key}`, { key })));

describe("members of a group", () => {
  test("divide the partitions among them, and get each message once", async () => {
    const party = new Party();
    const [a, b] = [new Log(), new Log()];
    const one = await party.join(a);
    await publishAll(one.topic, "alone");
    await party.pass(100);
    expect(a.payloads).toHaveLength(KEYS.length);
    await party.join(b);
    await party.pass(LEASE_MS);
    a.keys.clear();
    await publishAll(one.topic, "both");
    await party.pass(100);
    expect(a.payloads.length + b.payloads.length).toBe(2 * KEYS.length);
    expect([...a.keys].filter((key) => b.keys.has(key))).toEqual([]);
    expect(Math.min(a.keys.size, b.keys.size)).toBeGreaterThan(5);
  });

  test("a partition changes hands when what was begun of it is handled and acknowledged, not before", async () => {
    const party = new Party();
    const [a, b] = [new Log(), new Log()];
    const held = Promise.withResolvers<void>();
    a.hold = held.promise;
    const one = await party.join(a);
    await publishAll(one.topic, "first");
    await party.pass(50);
    const begun = a.payloads.length;
    expect(begun).toBe(16);
    await party.join(b);
    await party.pass(5 * LEASE_MS);
    // What a has begun keeps the whole partition with it.
    expect(new Set(a.payloads).size).toBe(begun);
    for (const payload of b.payloads) expect(a.payloads).not.toContain(payload);
    held.resolve();
    await party.pass(2 * LEASE_MS);
    expect([...a.payloads, ...b.payloads].sort()).toEqual(KEYS.map((key) => `first-${key}`).sort());
    expect(b.payloads.length).toBeGreaterThan(0);
  });

  test("who leaves gives its partitions back at once", async () => {
    const party = new Party();
    const [a, b] = [new Log(), new Log()];
    const one = await party.join(a);
    const two = await party.join(b);
    await party.pass(LEASE_MS);
    const closing = one.subscription.close();
    await party.pass(LEASE_MS / 4);
    await closing;
    await publishAll(two.topic, "rest");
    await party.pass(50);
    expect(b.payloads).toHaveLength(KEYS.length);
  });

  test("a member that the register can't be reached for gives up before others take over: it starts and settles nothing more", async () => {
    const party = new Party();
    const [a, b] = [new Log(), new Log()];
    const way = reachable(party.adapter);
    const held = Promise.withResolvers<void>();
    a.hold = held.promise;
    const settled: unknown[] = [];
    const one = await broker(way.adapter, party.clock);
    const topic = one.topic(define("orders", 8));
    await topic.subscribe({ group: "g", concurrency: 4 }, async (message) => {
      await a.handler(message);
      await message.ack().then(
        () => settled.push("acknowledged"),
        (error: unknown) => settled.push(isBrokerError(error) ? error.code : error),
      );
    });
    await publishAll(topic, "x");
    await party.pass(50);
    expect(a.payloads).toHaveLength(4);
    way.cut = true;
    const two = await broker(party.adapter, party.clock);
    await two.topic(define("orders", 8)).subscribe({ group: "g", concurrency: 16 }, b.handler);
    await party.pass(3 * LEASE_MS);
    expect(b.payloads.sort()).toEqual(KEYS.map((key) => `x-${key}`).sort());
    held.resolve();
    await party.pass(100);
    expect(settled).toEqual(Array(4).fill("LOST_OWNERSHIP"));
    expect(a.payloads).toHaveLength(4);
  });

  test("subscribing waits for the register, and says what is wrong with it", async () => {
    const party = new Party();
    const adapter = changed(party.adapter, (driver) => ({
      coordination: {
        read: (name, signal) =>
          name.startsWith("owners/")
            ? Promise.reject(driverError("FORBIDDEN", "no registers for you"))
            : (driver.coordination as NonNullable<Driver["coordination"]>).read(name, signal),
        compareAndSet: (...args) => (driver.coordination as NonNullable<Driver["coordination"]>).compareAndSet(...args),
      },
    }));
    await expect(party.join(new Log(), adapter)).rejects.toMatchObject({ code: "FORBIDDEN" });
  });

  test("a partition whose subscription breaks ends the member's, and core subscribes again", async () => {
    const party = new Party();
    let broken: Subscription | undefined;
    const adapter = changed(party.adapter, (driver) => ({
      subscribe: async (request, signal) => {
        const inner = await driver.subscribe(request, signal);
        if (broken !== undefined || request.topic !== "orders.3.shard") return inner;
        broken = inner;
        return new Proxy(inner, {
          get: (target, name) => {
            if (name === "receive") return () => Promise.reject(driverError("UNAVAILABLE", "cut"));
            const value: unknown = Reflect.get(target, name, target);
            return typeof value === "function" ? value.bind(target) : value;
          },
        });
      },
    }));
    const a = new Log();
    const one = await party.join(a, adapter);
    await publishAll(one.topic, "x");
    await party.pass(2 * LEASE_MS);
    expect(broken).toBeDefined();
    expect(new Set(a.payloads).size).toBe(KEYS.length);
  });

  test("what was lost of a partition takes the whole with it, so that nothing newer overtakes it", async () => {
    const party = new Party();
    const seen: unknown[] = [];
    const inners: Subscription[] = [];
    let first = true;
    const adapter = changed(party.adapter, (driver) => ({
      subscribe: async (request, signal) => {
        const inner = await driver.subscribe(request, signal);
        inners.push(inner);
        return new Proxy(inner, {
          get: (target, name) => {
            const value: unknown = Reflect.get(target, name, target);
            if (name !== "ack") return typeof value === "function" ? value.bind(target) : value;
            // The backend took one delivery back, and knows of no loss of the others.
            return async (...args: Parameters<Subscription["ack"]>) => {
              if (!first) return target.ack(...args);
              first = false;
              await target.nack?.(args[0].map((delivery) => ({ delivery, delayMs: 0, failures: 0 })));
              return args[0].map(() => "lost" as const);
            };
          },
        });
      },
    }));
    const one = await broker(adapter, party.clock);
    const topic = one.topic(define("orders", 1));
    await topic.createGroup("g");
    for (let n = 0; n < 6; n++) await topic.publish(n, { key: "k" });
    await topic.subscribe({ group: "g", concurrency: 4 }, (message) => {
      seen.push(message.payload);
    });
    await party.pass(LEASE_MS / 2);
    // 0 came again before anything newer was begun, or at the worst after what had begun by then: never behind all of it.
    expect(seen.slice(seen.lastIndexOf(0))).toEqual([0, 1, 2, 3, 4, 5]);
    expect(inners.length).toBe(2);
  });
});

describe("what waits to be handed out", () => {
  test("keeps its lease while a slow handler works, and is not delivered twice", async () => {
    const party = new Party();
    const seen: [unknown, number][] = [];
    const one = await broker(party.adapter, party.clock);
    const topic = one.topic(define("orders", 8));
    await topic.createGroup("g");
    await publishAll(topic, "x");
    await topic.subscribe({ group: "g", concurrency: 1 }, async (message) => {
      seen.push([message.payload, message.attempt]);
      await new Promise<void>((resolve) => void party.clock.timer(LEASE_MS, resolve));
    });
    await party.pass((KEYS.length + 10) * LEASE_MS);
    expect(new Set(seen.map(([payload]) => payload)).size).toBe(KEYS.length);
    expect(seen.map(([, attempt]) => attempt)).toEqual(KEYS.map(() => 1));
  });
});

describe("key order between members", () => {
  test("that is required is refused for a group on a topic without partitions, which its definition can mend", async () => {
    const { adapter, clock } = new Party();
    const one = await broker(adapter, clock, ["keyOrder"]);
    await expect(one.topic("plain").subscribe({ group: "g" }, () => {})).rejects.toMatchObject({
      code: "UNSUPPORTED",
      details: { capability: "keyOrder" },
      message: expect.stringContaining("partitions: 8"),
    });
    await one.topic("plain").subscribe({ group: "g", order: "none" }, () => {});
    await one.topic("plain").subscribe({ broadcast: true }, () => {});
    await one.topic(define("orders", 2)).subscribe({ group: "g" }, () => {});
  });

  test("is known of a topic that this broker does not provision", async () => {
    const { adapter, clock } = new Party();
    await (await broker(adapter, clock)).provision([define("orders", 2)]);
    const one = await broker(adapter, clock, ["keyOrder"], { provision: "off" });
    await one.topic("orders").subscribe({ group: "g" }, () => {});
    await expect(one.topic("plain").subscribe({ group: "g" }, () => {})).rejects.toMatchObject({ code: "UNSUPPORTED" });
  });

  test("provisioning tells of another number, and of a topic that exists without", async () => {
    const { adapter, clock } = new Party();
    const one = await broker(adapter, clock);
    await one.provision([define("orders", 2)]);
    await one.topic("plain").publish(1);
    const said = await one.provision([define("orders", 3), define("plain", 3), define("orders", 2)]);
    expect(said.map(({ action, detail }) => [action, detail])).toEqual([
      ["differs", "partitions are 2, defined 3"],
      ["differs", "partitions are 0, defined 3"],
      ["none", "as defined"],
    ]);
    const strict = await broker(adapter, clock, [], { provision: "verify" });
    await expect(strict.topic(define("orders", 3)).publish(1)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("order of the whole topic needs no partitions: a topic has one shard by itself", async () => {
    const { adapter, clock } = new Party();
    const one = await broker(adapter, clock);
    const ordered = { ...define("orders"), order: "topic" as const };
    await one.topic(ordered).subscribe({ group: "g", order: "topic" }, () => {});
    expect((await one.topic(ordered).describe()).partitions).toBeUndefined();
  });
});

describe("dead letters", () => {
  test("of a topic with partitions are kept, and come back to the partition of their key", async () => {
    const party = new Party();
    const one = await broker(party.adapter, party.clock);
    const topic = one.topic(define("orders", 4));
    let fails = true;
    const seen: unknown[] = [];
    await topic.subscribe({ group: "g", retry: { attempts: 1 } }, (message) => {
      seen.push(message.payload);
      if (fails) throw new Error("not now");
    });
    await topic.publish("x", { key: "k" });
    await party.pass(500);
    expect(seen).toEqual(["x"]);
    fails = false;
    const redriving = topic.group("g").deadLetters.redrive();
    await party.pass(5_000);
    await redriving;
    await party.pass(500);
    expect(seen).toEqual(["x", "x"]);
  });
});
