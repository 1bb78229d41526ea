import type { Driver, WireDelivery } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { FAKE_ANSWERS } from "../fake-aws.ts";
import { sqs, sqsFifo } from "../src/index.ts";
import { type Address, at, faked, fresh, ids, open, read, record, records, soon, startServer, store, texts, until } from "./stage.ts";

let server: Address;
beforeAll(async () => {
  server = await startServer();
});

const LEASE_MS = 2_000;
const options = (address: Address = server) => ({ ...at(address), leaseMs: LEASE_MS, pollMs: 1_000 });

async function topicOn(driver: Driver): Promise<string> {
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  return name;
}

const first = (deliveries: readonly WireDelivery[]): WireDelivery => {
  const [delivery] = deliveries;
  if (delivery === undefined) throw new Error("nothing was delivered");
  return delivery;
};

test("what is settled once can't be settled again, and changes nothing", async () => {
  const { driver } = await open(sqs(options()));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, ...Array.from({ length: 25 }, (_, n) => `m${n}`)));
  const deliveries = await take(25);
  expect(await subscription.ack(deliveries)).toEqual(deliveries.map(() => "confirmed"));
  expect(await subscription.ack(deliveries)).toEqual(deliveries.map(() => "lost"));
  expect(await subscription.nack?.([{ delivery: first(deliveries), delayMs: 0, failures: 1 }])).toEqual(["lost"]);
  expect(await driver.admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: 0, oldestMs: undefined });
});

test("a lease that has run out is lost here, and its message comes again with another receipt", async () => {
  const { driver } = await open(sqs(options()));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, "a"));
  const late = first(await take(1));
  const again = first(await take(1));
  expect([late.id, late.deliveries, again.id, again.deliveries]).toEqual(["a", 1, "a", 2]);
  expect(await subscription.extend?.([late], LEASE_MS)).toEqual(["lost"]);
  expect(await subscription.ack([late])).toEqual(["lost"]);
  expect(await subscription.ack([again])).toEqual(["confirmed"]);
});

test("an extended lease keeps a message from coming again", async () => {
  const { driver } = await open(sqs(options()));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, "held"));
  const held = first(await take(1));
  const before = held.leaseUntil;
  expect(await subscription.extend?.([held], 10_000)).toEqual(["confirmed"]);
  expect(held.leaseUntil).toBeGreaterThan(before + LEASE_MS);
  expect(await subscription.receive(10, LEASE_MS + 1_500, soon())).toEqual([]);
  expect(await subscription.ack([held])).toEqual(["confirmed"]);
});

test("a lease can't be made longer than the service allows, and says so", async () => {
  const { driver } = await open(sqs(options()));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, "a"));
  const [result] = (await subscription.extend?.(await take(1), 43_300_000)) ?? [];
  expect(driver.classify((result as { error: unknown }).error).code).toBe("QUOTA_EXCEEDED");
});

test("what one member gives back another gets at once, or after its time", async () => {
  const { driver } = await open(sqs({ ...options(), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const one = await read(driver, topic, "g");
  await store(driver, records(topic, "now", "later"));
  const deliveries = await one.take(2);
  const given = performance.now();
  await one.subscription.nack?.(deliveries.map((delivery) => ({ delivery, delayMs: delivery.id === "now" ? 0 : 2_000, failures: 1 })));
  expect(ids(await one.take(1))).toEqual(["now"]);
  expect(ids(await one.take(1))).toEqual(["later"]);
  expect(performance.now() - given).toBeGreaterThanOrEqual(1_990);
});

test("closing gives back what was not settled, also what a poll under way is given, long before the lease ends", async () => {
  const { driver } = await open(sqs({ ...options(), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const leaving = await read(driver, topic, "g");
  await store(driver, records(topic, "held"));
  await leaving.take(1);
  const abort = new AbortController();
  const idle = leaving.subscription.receive(10, 20_000, abort.signal);
  abort.abort();
  expect(await idle).toEqual([]);
  // The poll of that receive still waits on the server, and takes what comes now.
  await store(driver, records(topic, "late"));
  await leaving.subscription.close();
  const staying = await read(driver, topic, "g");
  expect(ids(await staying.take(2)).sort()).toEqual(["held", "late"]);
});

test("a message that nobody asks for goes back for other members", async () => {
  const { driver } = await open(sqs({ ...options(), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const busy = await read(driver, topic, "g");
  const abort = new AbortController();
  const idle = busy.subscription.receive(10, 20_000, abort.signal);
  abort.abort();
  await idle;
  await store(driver, records(topic, "unclaimed"));
  const free = await read(driver, topic, "g");
  expect(ids(await free.take(1))).toEqual(["unclaimed"]);
});

test.each([
  ["a topic", true, 1_500],
  ["a plain queue", false, 2_300],
] as const)("a delayed message comes to the millisecond, not before: %s", async (_, fanout, delayMs) => {
  const { driver } = await open(sqs({ ...options(), leaseMs: 60_000, fanout }));
  const topic = await topicOn(driver);
  const { take } = await read(driver, topic, "g");
  const published = Date.now();
  await store(driver, [record(topic, "later", { delayMs }), record(topic, "sooner", { delayMs: delayMs - 700 }), record(topic, "now")]);
  const deliveries = [];
  for (const _ of [1, 2, 3]) deliveries.push({ ...first(await take(1)), at: Date.now() - published });
  expect(ids(deliveries)).toEqual(["now", "sooner", "later"]);
  expect(deliveries.map(({ deliveries: count }) => count)).toEqual([1, 1, 1]);
  expect(deliveries[1]?.at).toBeGreaterThanOrEqual(delayMs - 700);
  expect(deliveries[2]?.at).toBeGreaterThanOrEqual(delayMs);
});

test("an outage is healed beneath receive: what is owned stays owned", async () => {
  const fake = await faked(server);
  const { driver, downs } = await open(sqs({ ...options(fake), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const { subscription, take, lost } = await read(driver, topic, "g");
  await store(driver, records(topic, "before"));
  const owned = first(await take(1));
  fake.rule = ({ action }) => (action === "ReceiveMessage" ? FAKE_ANSWERS.unavailable : undefined);
  const waiting = take(1);
  await until(() => downs.length > 0, "the driver to tell of the outage");
  fake.rule = () => undefined;
  await store(driver, records(topic, "after"));
  expect(ids(await waiting)).toEqual(["after"]);
  expect(lost).toEqual([]);
  expect(await subscription.ack([owned])).toEqual(["confirmed"]);
});

test("a failed request is an error of each delivery, which is still owned", async () => {
  const fake = await faked(server);
  const { driver } = await open(sqs({ ...options(fake), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, "g");
  await store(driver, records(topic, "a"));
  const deliveries = await take(1);
  fake.rule = ({ action }) => (action === "DeleteMessageBatch" ? FAKE_ANSWERS.internal : undefined);
  const [result] = await subscription.ack(deliveries);
  expect(driver.classify((result as { error: unknown }).error)).toEqual({ code: "UNAVAILABLE", retryable: true });
  fake.rule = () => undefined;
  expect(await subscription.ack(deliveries)).toEqual(["confirmed"]);
});

test("a queue that is deleted under a reader ends it with NOT_FOUND, after its shard is lost", async () => {
  const { driver } = await open(sqs(options()));
  const topic = await topicOn(driver);
  const { subscription, lost } = await read(driver, topic, "g");
  await driver.admin.deleteGroup(topic, "g", soon());
  const error = await subscription.receive(1, 10_000, soon()).catch((raw: unknown) => raw);
  expect(driver.classify(error).code).toBe("NOT_FOUND");
  expect(lost).toHaveLength(1);
});

test("a broadcast reader gets each message once, also when deleting it fails at first", async () => {
  const fake = await faked(server);
  const { driver } = await open(sqs(options(fake)));
  const topic = await topicOn(driver);
  const { subscription, take } = await read(driver, topic, undefined);
  fake.rule = ({ action }) => (action === "DeleteMessageBatch" ? FAKE_ANSWERS.internal : undefined);
  await store(driver, records(topic, "a"));
  expect(texts(await take(1))).toEqual(["a"]);
  await until(() => fake.asked.some(({ action }) => action === "DeleteMessageBatch"), "the first try to delete it");
  fake.rule = () => undefined;
  const deleted = (): number => fake.asked.filter(({ action }) => action === "DeleteMessageBatch").length;
  const tries = deleted();
  const pending = subscription.receive(1, LEASE_MS + 2_000, soon());
  await until(() => deleted() > tries, "it to come again, and to be deleted");
  expect(await pending).toEqual([]);
});

test("a FIFO queue hands out no key that another member holds, nor one behind a delayed message of that key", async () => {
  const { driver } = await open(sqsFifo({ ...options(), leaseMs: 60_000 }));
  const topic = await topicOn(driver);
  const [one, two] = [await read(driver, topic, "g"), await read(driver, topic, "g")];
  const of = (id: string, key: string, more = {}) => record(topic, id, { key: Buffer.from(key), ...more });
  await store(driver, [of("a1", "a")]);
  const held = await one.take(1);
  await store(driver, [of("a2", "a"), of("b1", "b")]);
  expect(ids(await two.take(1))).toEqual(["b1"]);
  expect(await two.subscription.receive(10, 1_200, soon())).toEqual([]);
  await one.subscription.ack(held);
  expect(ids(await two.take(1))).toEqual(["a2"]);
  const inbox = of("c1", "c", { target: { topic, group: "g" }, delayMs: 1_800, failures: 1 });
  const published = Date.now();
  await store(driver, [inbox]);
  await store(driver, [of("c2", "c")]);
  const delayed = await one.take(1);
  expect([ids(delayed), Date.now() - published >= 1_800]).toEqual([["c1"], true]);
  await one.subscription.ack(delayed);
  expect(ids(await one.take(1))).toEqual(["c2"]);
});
