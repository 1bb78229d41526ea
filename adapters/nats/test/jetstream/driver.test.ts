import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, expect, test } from "vitest";
import { nats } from "../../src/index.ts";
import { at, fresh, ids, open, outcomes, plain, proxied, read, record, records, soon, startServer, store, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

test("the rights that the README names are enough, and keep to the prefix", async () => {
  const rights = { publish: '"app.>", "$JS.API.>", "$JS.ACK.>", "_INBOX.>"', subscribe: '"_INBOX.>"' };
  const own = await startServer({ user: "ann", password: "x", ...rights });
  const { driver } = await open(nats({ ...at(own), username: "ann", password: "x", subjectPrefix: "app." }));
  await driver.admin.createTopic({ name: "a" }, soon());
  const { subscription, take } = await read(driver, "a", "g");
  await store(driver, [...records("a", "1"), record("a", "2", { target: { topic: "a", group: "g" } })]);
  const got = await take(2);
  expect(await subscription.extend?.(got, 1_000)).toEqual(["confirmed", "confirmed"]);
  expect(await subscription.ack(got)).toEqual(["confirmed", "confirmed"]);
  const cursor = await driver.replay({ topic: "a", from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon());
  expect(ids((await cursor.receive(10, 5_000, soon())).deliveries)).toEqual(["1"]);
  await cursor.close();
  await driver.admin.seek("a", "g", { kind: "earliest" }, soon());
  expect(await driver.admin.lag("a", "g", soon())).toMatchObject({ count: 1 });
  await driver.admin.deleteTopic("a", soon());
  expect(await driver.coordination?.compareAndSet("a/g", undefined, Buffer.from("1"), soon())).toBeDefined();
  expect(await driver.coordination?.read("a/g", soon())).toMatchObject({ value: Buffer.from("1") });
  const owner = await read(driver, "a", "g", { exclusive: true }).catch((error: unknown) => driver.classify(error).code);
  expect(owner).toBe("NOT_FOUND");
});

test("closing ends everything, twice, at once, and leaves no connection behind", async () => {
  const proxy = await proxied(server);
  const { driver } = await open(nats(at(proxy)));
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  const { subscription } = await read(driver, topic, "g");
  const broadcast = await read(driver, topic, undefined);
  const waiting = [subscription, broadcast.subscription].map((one) =>
    one.receive(1, 20_000, soon(25_000)).catch((error: unknown) => driver.classify(error).code),
  );
  const began = performance.now();
  await Promise.all([driver.close(), driver.close()]);
  await Promise.all(waiting);
  expect(ranFor(began)).toBeLessThan(3_000);
  await until(() => proxy.statistics.open === 0, "the connections to go");
  expect(outcomes(driver, await driver.publish(records(topic, "1"), soon()))).toEqual(["UNAVAILABLE no"]);
});

test("a server killed with publishes under way has everything that it confirmed, once", async () => {
  const own = await startServer();
  const { driver, downs } = await open(nats(at(own)));
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  const calls: Promise<(readonly [id: string, said: string])[]>[] = [];
  const send = async (call: number): Promise<(readonly [id: string, said: string])[]> => {
    const names = Array.from({ length: 200 }, (_, n) => `${call}-${n}`);
    const said = outcomes(driver, await driver.publish(records(topic, ...names), soon()));
    return names.map((id, n) => [id, said[n] ?? ""]);
  };
  for (let call = 0; call < 4; call++) calls.push(send(call));
  await Promise.all(calls);
  for (let call = 4; call < 8; call++) calls.push(send(call));
  await own.kill();
  const said = (await Promise.all(calls)).flat();
  await until(() => downs.length > 0, "the driver to notice");
  await own.restart();
  await driver.connect(soon());
  const again = said.filter(([, one]) => one !== "ok").map(([id]) => id);
  await store(driver, records(topic, ...again));
  const manager = await (await plain(own)).jetstreamManager();
  expect((await manager.streams.info(topic)).state.messages).toBe(said.length);
});

test("connecting again on a healthy connection resolves at once, with the same record", async () => {
  const { driver, capabilities } = await open(nats(at(server)));
  expect(await driver.connect(soon())).toBe(capabilities);
  await driver.ping(soon());
});

test("a smaller max_payload narrows the largest message", async () => {
  const own = await startServer({ maxPayload: "65536" });
  const { driver, capabilities } = await open(nats(at(own)));
  expect(capabilities.message.maxBytes).toBe(65_536 - 4_096);
  const topic = fresh();
  await driver.admin.createTopic({ name: topic }, soon());
  const results = await driver.publish(
    [record(topic, "1", { body: Buffer.alloc(61_440) }), record(topic, "2", { body: Buffer.alloc(66_000) })],
    soon(),
  );
  expect(outcomes(driver, results)).toEqual(["ok", "TOO_LARGE no"]);
});
