import { SubscribeCommand } from "@aws-sdk/client-sns";
import { CreateQueueCommand, GetQueueUrlCommand, ListQueuesCommand, TagQueueCommand } from "@aws-sdk/client-sqs";
import { beforeAll, expect, test } from "vitest";
import { FAKE_ANSWERS } from "../fake-aws.ts";
import { sqs, sqsFifo } from "../src/index.ts";
import { type Address, at, connecting, faked, fresh, ids, open, plain, read, records, soon, startServer, store } from "./stage.ts";

let server: Address;
beforeAll(async () => {
  server = await startServer();
});

const LATEST = { kind: "latest" } as const;

async function queues(prefix: string): Promise<string[]> {
  const { QueueUrls = [] } = await plain(server).sqs.send(new ListQueuesCommand({ QueueNamePrefix: prefix }));
  return QueueUrls.map((url) => url.slice(url.lastIndexOf("/") + 1)).sort();
}

test.each([
  ["standard", sqs],
  ["FIFO", sqsFifo],
] as const)("topics and groups are made once, described, and deleted with all that is theirs: %s", async (_, factory) => {
  const { driver } = await open(factory(at(server)));
  const { admin } = driver;
  const name = fresh();
  expect(await admin.describeTopic(name, soon())).toBeUndefined();
  expect(await admin.createTopic({ name }, soon())).toBe("created");
  expect(await admin.createTopic({ name }, soon())).toBe("existing");
  const groups = ["billing", "-odd-", "g".repeat(100)];
  for (const group of groups) {
    expect(await admin.createGroup(name, group, LATEST, soon())).toBe("created");
    expect(await admin.createGroup(name, group, LATEST, soon())).toBe("existing");
  }
  await read(driver, name, undefined);
  const info = await admin.describeTopic(name, soon());
  expect([...(info?.groups ?? [])].sort()).toEqual([...groups].sort());
  await admin.deleteGroup(name, "-odd-", soon());
  await admin.deleteGroup(name, "-odd-", soon());
  expect((await admin.describeTopic(name, soon()))?.groups).not.toContain("-odd-");
  await admin.deleteTopic(name, soon());
  await admin.deleteTopic(name, soon());
  expect(await admin.describeTopic(name, soon())).toBeUndefined();
  expect(await queues(name)).toEqual([]);
});

test("what is not there is NOT_FOUND", async () => {
  const { driver } = await open(sqs(at(server)));
  const { admin } = driver;
  const name = fresh();
  const code = (work: Promise<unknown>): Promise<string> => work.then(() => "done").catch((error) => driver.classify(error).code);
  expect(await code(driver.describe(name, soon()))).toBe("NOT_FOUND");
  expect(await code(admin.createGroup(name, "g", LATEST, soon()))).toBe("NOT_FOUND");
  await admin.createTopic({ name }, soon());
  expect(await code(admin.lag(name, "g", soon()))).toBe("NOT_FOUND");
  expect(await code(admin.createTopic({ name, native: { sqs: { shards: 1 } } }, soon()))).toBe("INVALID_ARGUMENT");
});

test("a queue that others have subscribed to a topic is neither a group nor deleted with it", async () => {
  const { driver } = await open(sqs(at(server)));
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  const { sqs: queue, sns } = plain(server);
  await queue.send(new CreateQueueCommand({ QueueName: `${name}-theirs` }));
  const TopicArn = `arn:aws:sns:us-east-1:000000000000:${name}`;
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: `arn:aws:sqs:us-east-1:000000000000:${name}-theirs` }));
  expect((await driver.admin.describeTopic(name, soon()))?.groups).toEqual([]);
  await driver.admin.deleteTopic(name, soon());
  expect(await queues(name)).toEqual([`${name}-theirs`]);
});

test("a broadcast reader's queue goes when it closes; one whose reader died goes when another opens, a day later", async () => {
  const { driver } = await open(sqs(at(server)));
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  const closing = await read(driver, name, undefined);
  expect(await queues(name)).toHaveLength(1);
  await closing.subscription.close();
  expect(await queues(name)).toEqual([]);
  await read(driver, name, undefined);
  const [abandoned = ""] = await queues(name);
  const { sqs: queue } = plain(server);
  const { QueueUrl } = await queue.send(new GetQueueUrlCommand({ QueueName: abandoned }));
  await queue.send(new TagQueueCommand({ QueueUrl, Tags: { "brokerkit:alive": String(Date.now() - 25 * 3_600_000) } }));
  await read(driver, name, undefined);
  const left = await queues(name);
  expect(left).toHaveLength(1);
  expect(left).not.toContain(abandoned);
});

test("a plain queue has one group, which has what was there before it, and whose deletion empties it", async () => {
  const { driver, capabilities } = await open(sqs({ ...at(server), fanout: false }));
  expect([capabilities.delivery.broadcast, capabilities.from.broadcast]).toEqual(["none", []]);
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  await store(driver, records(name, "before"));
  const reader = await read(driver, name, "g");
  const deliveries = await reader.take(1);
  expect(ids(deliveries)).toEqual(["before"]);
  await reader.subscription.ack(deliveries);
  const error = await driver.admin.createGroup(name, "another", LATEST, soon()).catch((raw: unknown) => raw);
  expect(driver.classify(error).code).toBe("UNSUPPORTED");
  expect((error as Error).message).toContain('"g" is its only group');
  expect((await driver.admin.describeTopic(name, soon()))?.groups).toEqual(["g"]);
  await store(driver, records(name, "left behind"));
  await driver.admin.deleteGroup(name, "g", soon());
  expect(await driver.admin.createGroup(name, "another", LATEST, soon())).toBe("created");
  expect(await driver.admin.lag(name, "another", soon())).toMatchObject({ count: 0 });
});

test.each([
  ["an unknown key", "unknownKey", { code: "UNAUTHENTICATED", retryable: false }],
  ["an expired token", "expired", { code: "UNAUTHENTICATED", retryable: false }],
  ["an outage", "unavailable", { code: "UNAVAILABLE", retryable: true }],
  ["a key that may do other things than look for queues", "forbidden", { code: "connected", retryable: false }],
] as const)("connecting with %s", async (_, kind, expected) => {
  const fake = await faked(server, () => FAKE_ANSWERS[kind]);
  expect(await connecting(sqs(at(fake)))).toEqual(expected);
});
