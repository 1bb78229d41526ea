import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { AckPolicy, consumerOpts, createInbox, DeliverPolicy, headers, type JsMsg } from "nats";
import { beforeAll, describe, expect, test } from "vitest";
import { nats } from "../src/index.ts";
import { at, fresh, ids, open, outcomes, plain, read, record, records, soon, startServer, store, until } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

/** Our driver and a plain client beside it, on one topic. */
async function both() {
  const { driver } = await open(nats(at(server)));
  const client = await plain(server);
  const topic = fresh();
  return { driver, topic, client, js: client.jetstream(), manager: await client.jetstreamManager() };
}

describe("on our stream", () => {
  async function ours() {
    const scene = await both();
    await scene.driver.admin.createTopic({ name: scene.topic }, soon());
    return scene;
  }

  test("their headers come with every value and in order, and their message id is the id", async () => {
    const { driver, topic, js } = await ours();
    const { take } = await read(driver, topic, "g");
    const own = headers();
    own.append("Trace", "a");
    own.append("Trace", "b");
    own.append("kind", "größer");
    await js.publish(topic, "with", { headers: own, msgID: "their-1" });
    await js.publish(topic, "", {});
    const [first, second] = await take(2);
    expect(first?.headers.map(([name, value]) => [name, Buffer.from(value).toString()])).toEqual([
      ["Trace", "a"],
      ["Trace", "b"],
      ["kind", "größer"],
    ]);
    expect([first?.id, Buffer.from(first?.body ?? "").toString(), first?.key, first?.failures]).toEqual(["their-1", "with", undefined, 0]);
    expect([second?.id, second?.body?.length, second?.place]).toEqual([undefined, 0, "0:2"]);
    expect(Math.abs(Date.now() - (first?.publishedAt ?? 0))).toBeLessThan(10_000);
  });

  test("one dedupe id is one message, whoever publishes it first", async () => {
    const { driver, topic, js } = await ours();
    await store(driver, records(topic, "one"));
    expect(await js.publish(topic, "again", { msgID: "one" })).toMatchObject({ duplicate: true, seq: 1 });
    expect(await js.publish(topic, "two", { msgID: "two" })).toMatchObject({ duplicate: false, seq: 2 });
    expect(await store(driver, records(topic, "two"))).toEqual([{ ok: true, place: "0:2", duplicate: true }]);
  });

  test("their consumers read our bodies and headers: a pull consumer, an ordered one, a push subscription", async () => {
    const { driver, topic, js, manager } = await ours();
    const sent = [
      record(topic, "1", { headers: [["kind", Buffer.from("a b")]], key: Buffer.from("ada") }),
      record(topic, "2", { headers: [["kind", Buffer.from([0, 255])]] }),
    ];
    await store(driver, sent);
    const facts = (messages: readonly Pick<JsMsg, "string" | "headers" | "seq">[]) =>
      messages.map((message) => [message.seq, message.string(), message.headers?.get("kind"), message.headers?.get("Nats-Msg-Id")]);
    const expected = [
      [1, "1", "a b", "1"],
      [2, "2", "=?b64?AP8=", "2"],
    ];
    await manager.consumers.add(topic, { durable_name: "theirs", ack_policy: AckPolicy.Explicit });
    for (const name of ["theirs", undefined]) {
      const consumer = name === undefined ? await js.consumers.get(topic) : await js.consumers.get(topic, name);
      const got: JsMsg[] = [];
      const messages = await consumer.consume({ callback: (message) => void got.push(message) });
      await until(() => got.length === 2, "both messages");
      for (const message of got) message.ack();
      expect(facts(got)).toEqual(expected);
      await messages.close();
    }
    const options = consumerOpts({ ack_policy: AckPolicy.None, deliver_policy: DeliverPolicy.All });
    options.deliverTo(createInbox());
    const pushed: JsMsg[] = [];
    options.callback((_, message) => void (message !== null && pushed.push(message)));
    await js.subscribe(topic, options);
    await until(() => pushed.length === 2, "both messages to be pushed");
    expect(facts(pushed)).toEqual(expected);
  });

  test("a group is shared between our members and their consumer of the same name, and their consumer's place is ours", async () => {
    const { driver, topic, js, manager } = await ours();
    const member = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3", "4"));
    const theirs = await (await js.consumers.get(topic, "g")).next({ expires: 5_000 });
    expect([theirs?.string(), theirs?.info.deliveryCount]).toEqual(["1", 1]);
    const rest = await member.take(3);
    expect(ids(rest)).toEqual(["2", "3", "4"]);
    theirs?.nak();
    expect((await member.take(1)).map(({ id, deliveries }) => [id, deliveries])).toEqual([["1", 2]]);
    expect(await member.subscription.ack(rest)).toEqual(["confirmed", "confirmed", "confirmed"]);
    expect((await manager.consumers.info(topic, "g")).num_ack_pending).toBe(1);
  });

  test("what they acknowledge, terminate or hold on to is settled as their client says", async () => {
    const { driver, topic, js } = await ours();
    await driver.admin.createGroup(topic, "g", { kind: "earliest" }, soon());
    await store(driver, records(topic, "1", "2", "3"));
    const consumer = await js.consumers.get(topic, "g");
    const [one, two] = [await consumer.next(), await consumer.next()];
    await one?.ackAck();
    two?.term();
    await until(async () => (await driver.admin.lag(topic, "g", soon())).count === 1, "both to be settled");
    const member = await read(driver, topic, "g");
    expect(ids(await member.take(1))).toEqual(["3"]);
  });
});

describe("on their stream", () => {
  test("that keeps more subjects than the topic's is not taken for the topic's, and the refusal names it", async () => {
    const { driver, topic, manager } = await both();
    await manager.streams.add({ name: `all-${topic}`, subjects: [`${topic}.>`] });
    const error = await driver.admin.createTopic({ name: `${topic}.orders` }, soon()).catch((raw: unknown) => raw);
    expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining(`"all-${topic}"`)]);
    expect(outcomes(driver, await driver.publish(records(`${topic}.orders`, "1"), soon()))).toEqual(["NOT_FOUND maybe"]);
  });

  test("of the topic's name, groups, replay and lag work on messages of theirs from before", async () => {
    const { driver, topic, js, manager } = await both();
    await manager.streams.add({ name: topic, subjects: [topic] });
    for (const body of ["1", "2", "3"]) await js.publish(topic, body);
    expect(await driver.admin.createTopic({ name: topic }, soon())).toBe("existing");
    const member = await read(driver, topic, "g", { from: { kind: "earliest" } });
    expect((await member.take(3)).map(({ body, place }) => [Buffer.from(body ?? "").toString(), place])).toEqual([
      ["1", "0:1"],
      ["2", "0:2"],
      ["3", "0:3"],
    ]);
    const request = { topic, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } } as const;
    const cursor = await driver.replay(request, soon());
    expect((await cursor.receive(10, 5_000, soon())).deliveries).toHaveLength(3);
    await cursor.close();
    expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 3, inFlight: 3 });
  });

  test("that confirms nothing is refused before anything is published to it", async () => {
    const { driver, topic, manager } = await both();
    await manager.streams.add({ name: topic, subjects: [topic], no_ack: true });
    const error = await driver.describe(topic, soon()).catch((raw: unknown) => raw);
    expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("no_ack")]);
  });

  test("a consumer that would hide something from the group is refused, and says why", async () => {
    const { driver, topic, manager } = await both();
    await driver.admin.createTopic({ name: topic }, soon());
    for (const [name, wrong, reason] of [
      ["bodiless", { headers_only: true }, "headers_only"],
      ["short", { max_batch: 5 }, "max_batch"],
      ["forgotten", { inactive_threshold: 60e9 }, "inactive_threshold"],
      ["partial", { filter_subject: topic }, "filters"],
    ] as const) {
      await manager.consumers.add(topic, { durable_name: name, ack_policy: AckPolicy.Explicit, ...wrong });
      const error = await read(driver, topic, name).catch((raw: unknown) => raw);
      expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining(reason)]);
    }
  });
});

test("what a server of this version would silently ignore is refused instead: options it does not know", async () => {
  const { driver, topic } = await both();
  for (const native of [{ allow_msg_ttl: true }, { allow_msg_schedules: true }, { compression: "s2" }]) {
    const create = async () => driver.admin.createTopic({ name: topic, native: { nats: native } }, soon());
    const error = await create().catch((raw: unknown) => raw);
    expect([driver.classify(error).code, String(error)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("known: replicas")]);
  }
  const replicated = await (async () => driver.admin.createTopic({ name: topic, native: { nats: { replicas: 3 } } }, soon()))().catch(
    (raw: unknown) => raw,
  );
  expect(driver.classify(replicated).code).toBe("INVALID_ARGUMENT");
  expect(await driver.admin.describeTopic(topic, soon())).toBeUndefined();
});
