import { CreateQueueCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Driver, WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { elasticmq } from "../recipe.ts";
import { type SqsOptions, sqs, sqsFifo } from "../src/index.ts";
import { at, fresh, ids, open, plain, read, record, soon, startServer, store, texts } from "./stage.ts";

/** The other emulator: no SNS, its limits strict, receipts that it tells apart. */
let server: RunningBroker;
beforeAll(async () => {
  server = await startServer(elasticmq);
}, 60_000);

const options = (): SqsOptions => ({ ...at(server), fanout: false, durability: "page-cache", leaseMs: 3_000, pollMs: 1_000 });

async function topic(driver: Driver): Promise<string> {
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  return name;
}

describe("a topic that is one queue", { timeout: 30_000 }, () => {
  test("says to a second group which one is there", async () => {
    const { driver } = await open(sqs(options()));
    const name = await topic(driver);
    await driver.admin.createGroup(name, "one", { kind: "latest" }, soon());
    const second = await driver.admin.createGroup(name, "two", { kind: "latest" }, soon()).catch((error: unknown) => error);
    expect(driver.classify(second)).toEqual({ code: "UNSUPPORTED", retryable: false });
    expect(String(second)).toContain('"one" is its only group');
  });

  test("may be a queue that others have made and filled: what is in it comes", async () => {
    const { sqs: queues } = plain(server);
    const name = fresh();
    const { QueueUrl } = await queues.send(new CreateQueueCommand({ QueueName: name }));
    await queues.send(new SendMessageCommand({ QueueUrl, MessageBody: "waiting" }));
    const { driver } = await open(sqs(options()));
    const { subscription, take } = await read(driver, name, "g");
    expect(subscription.created).toBe(true);
    expect(texts(await take(1))).toEqual(["waiting"]);
  });

  test("takes more headers than a message has attributes, beside a binary body", async () => {
    const { driver } = await open(sqs(options()));
    const name = await topic(driver);
    const headers = Array.from({ length: 20 }, (_, n) => [`h-${n}`, Buffer.from(n % 2 === 0 ? `v${n}` : [n, 0])] as const);
    await store(driver, [record(name, "x", { body: Buffer.from([0, 255]), headers, key: Buffer.from([1, 255]) })]);
    const [taken] = await (await read(driver, name, "g")).take(1);
    expect(taken?.headers.map(([header, value]) => [header, Buffer.from(value)])).toEqual(headers.map((one) => [...one]));
    expect([taken?.body, taken?.key].map((bytes) => bytes && Buffer.from(bytes))).toEqual([Buffer.from([0, 255]), Buffer.from([1, 255])]);
  });
});

describe("a topic that is one FIFO queue", { timeout: 30_000 }, () => {
  test("keeps a key's order over a connecting, and stores an act of publishing once, whoever repeats it", async () => {
    const [{ driver }, other] = [await open(sqsFifo(options())), await open(sqsFifo(options()))];
    const name = await topic(driver);
    const key = Buffer.from("k");
    for (const id of ["a", "b", "c"]) await store(driver, [record(name, id, { key })]);
    await store(driver, [record(name, "b", { key })]);
    await store(other.driver, [record(name, "c", { key })]);
    const { subscription, take } = await read(driver, name, "g");
    const [first, ...rest] = await take(1);
    expect(ids([first as WireDelivery])).toEqual(["a"]);
    expect(rest).toEqual([]);
    await subscription.nack?.([{ delivery: first as WireDelivery, delayMs: 0, failures: 1 }]);
    const order: (string | null)[] = [];
    while (order.length < 3) {
      const taken = await take(1);
      order.push(...texts(taken));
      await subscription.ack(taken);
    }
    expect(order).toEqual(["a", "b", "c"]);
    expect(await driver.admin.lag(name, "g", soon())).toMatchObject({ count: 0 });
  });
});
