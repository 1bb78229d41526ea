import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { type Broker, connect, isBrokerError } from "brokerkit";
import type { WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, onTestFinished, test } from "vitest";
import { administrator } from "../recipe.ts";
import { pulsar } from "../src/index.ts";
import type { PulsarOptions } from "../src/options.ts";
import { at, ids, open, outcomes, read, record, soon, startServer, store, topicOn, until } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer({ backlogQuotaCheckIntervalInSeconds: "1" });
}, 180_000);

let namespaces = 0;
/** A namespace with policies of its own: path → value. */
async function namespaceWith(policies: Readonly<Record<string, unknown>>): Promise<PulsarOptions> {
  namespaces += 1;
  const namespace = `limits-${namespaces}`;
  const rest = administrator({ ...server, options: {} });
  await rest.createNamespace(namespace, policies, soon());
  rest.close();
  return { ...at(server), namespace, batching: "none" };
}

const BODY = Buffer.from(JSON.stringify("x".repeat(1_000)));
const numbered = (topic: string, from: number, count: number) =>
  Array.from({ length: count }, (_, n) => record(topic, String(from + n), { key: Buffer.from(`k${n % 20}`), body: BODY }));
const numbers = (deliveries: readonly WireDelivery[]): number[] =>
  ids(deliveries)
    .map(Number)
    .sort((a, b) => a - b);

describe.each(["producer_exception", "producer_request_hold"])("a backlog that is full, with %s", (policy) => {
  const full = () => namespaceWith({ backlogQuota: { limitSize: 200_000, limitTime: -1, policy } });

  test("refuses publishes as QUOTA_EXCEEDED and soon, and takes them again when it is read; nothing confirmed is lost", async () => {
    const { driver, topic } = await topicOn(await full());
    await driver.admin.createGroup(topic, "g", { kind: "earliest" }, soon());
    const confirmed = new Set<string>();
    let sent = 0;
    const publish = async (count: number): Promise<string[]> => {
      const batch = numbered(topic, sent, count);
      sent += count;
      const began = performance.now();
      const results = await driver.publish(batch, soon());
      expect(ranFor(began)).toBeLessThan(3_000);
      for (const [n, { ok }] of results.entries()) if (ok) confirmed.add(batch[n]?.id ?? "");
      return outcomes(driver, results);
    };
    const met = new Set(await publish(300));
    // The broker looks once a second, and ends the producer then.
    await until(async () => {
      const [outcome = ""] = await publish(1);
      met.add(outcome);
      return outcome === "QUOTA_EXCEEDED no";
    }, "the quota to be noticed");
    for (const outcome of met) expect(["ok", "UNAVAILABLE no", "UNAVAILABLE maybe", "QUOTA_EXCEEDED no"]).toContain(outcome);
    expect(await publish(3)).toEqual(Array(3).fill("QUOTA_EXCEEDED no"));

    const { subscription, take } = await read(driver, topic, "g");
    const came = new Set<string>();
    while (came.size < confirmed.size) {
      const some = await take(1);
      for (const id of ids(some)) came.add(String(id));
      await subscription.ack(some);
    }
    for (const id of confirmed) expect(came).toContain(id);
    await until(async () => (await publish(1))[0] === "ok", "room again");
  });

  test("lets a publish of the application wait for room, until its time is over", async () => {
    const options = await full();
    const { driver, topic } = await topicOn(options);
    const broker = (await connect(pulsar(options))) as Broker;
    onTestFinished(() => broker.close());
    const { subscription } = await read(driver, topic, "g");
    // The broker may look in the middle of it.
    await driver.publish(numbered(topic, 0, 300), soon());
    const { publish } = { publish: (timeoutMs: number) => broker.topic(topic).publish("x", { timeoutMs }) };
    await until(
      () =>
        publish(300).then(
          () => false,
          (error: unknown) => isBrokerError(error, "QUOTA_EXCEEDED"),
        ),
      "the quota to be noticed",
    );
    const patient = publish(20_000);
    let stored = false;
    void patient.then(() => {
      stored = true;
    });
    await until(async () => {
      await subscription.ack(await subscription.receive(1_000, 100, soon()));
      return stored;
    }, "room for it");
    await patient;
  });
});

describe("where the broker stops at unacknowledged messages", () => {
  test("of a consumer, it goes on as soon as some are acknowledged", async () => {
    const options = await namespaceWith({ maxUnackedMessagesPerConsumer: 20 });
    const { driver, topic, capabilities } = await topicOn(options);
    expect(capabilities.hold.maxUnacked).toBe(16);
    const { subscription } = await read(driver, topic, "g");
    await store(driver, numbered(topic, 0, 100));
    const came: WireDelivery[] = [];
    const stops: number[] = [];
    while (came.length < 100) {
      const held: WireDelivery[] = [];
      await until(async () => {
        const some = await subscription.receive(100, 500, soon());
        held.push(...some);
        return some.length === 0 && held.length > 0;
      }, "the broker to stop");
      stops.push(held.length);
      came.push(...held);
      expect(new Set(await subscription.ack(held))).toEqual(new Set(["confirmed"]));
    }
    expect(numbers(came)).toEqual(Array.from({ length: 100 }, (_, n) => n));
    // It counts in whole permits, so by a few more than it says.
    expect(Math.max(...stops)).toBeLessThan(40);
  });

  test("of a subscription, members go on as soon as one of them acknowledges", async () => {
    const options = await namespaceWith({ maxUnackedMessagesPerSubscription: 30 });
    const { driver, topic } = await topicOn(options);
    const other = (await open(pulsar(options))).driver;
    // What was asked for before the broker stops still comes.
    const members = [await read(driver, topic, "g", { credit: 20 }), await read(other, topic, "g", { credit: 20 })];
    await store(driver, numbered(topic, 0, 200));
    const held: WireDelivery[][] = [[], []];
    const receive = async (): Promise<number> => {
      const some = await Promise.all(members.map(({ subscription }) => subscription.receive(200, 300, soon())));
      for (const [n, part] of some.entries()) held[n]?.push(...part);
      return some.flat().length;
    };
    await until(async () => (await receive()) === 0 && held.flat().length > 0, "the broker to stop");
    expect(held.flat().length).toBeLessThan(100);
    const came: WireDelivery[] = [];
    await until(async () => {
      for (const [n, part] of held.entries()) {
        const settled = part.splice(0);
        came.push(...settled);
        if (settled.length > 0) expect(new Set(await members[n]?.subscription.ack(settled))).toEqual(new Set(["confirmed"]));
      }
      await receive();
      return came.length + held.flat().length >= 200;
    }, "all messages");
    expect(numbers([...came, ...held.flat()])).toEqual(Array.from({ length: 200 }, (_, n) => n));
  });

  test("nothing is stuck while failed messages wait for their next attempt", async () => {
    const options = await namespaceWith({ maxUnackedMessagesPerConsumer: 20 });
    const { driver, topic } = await topicOn(options);
    const broker = (await connect(pulsar(options))) as Broker;
    onTestFinished(() => broker.close());
    const attempts = new Map<string, number>();
    let done = 0;
    const retry = { attempts: 3, backoffMs: { initial: 300, factor: 1, max: 300 } };
    await broker.topic(topic).subscribe({ group: "g", concurrency: 50, retry }, ({ id }) => {
      attempts.set(id, (attempts.get(id) ?? 0) + 1);
      if (attempts.get(id) === 1) throw new Error("not yet");
      done += 1;
    });
    await store(driver, numbered(topic, 0, 100));
    await until(() => done >= 100, "all to be handled", 25_000);
    expect([attempts.size, done, new Set(attempts.values())]).toEqual([100, 100, new Set([2])]);
  });
});
