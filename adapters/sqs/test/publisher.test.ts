import { createServer } from "node:net";
import type { Driver, WireRecord } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { FAKE_ANSWERS, type FakeAnswer } from "../fake-aws.ts";
import type { SqsAdmin } from "../src/admin.ts";
import { sqs, sqsFifo } from "../src/index.ts";
import { publish } from "../src/publisher.ts";
import {
  type Address,
  at,
  defer,
  faked,
  fresh,
  ids,
  open,
  outcomes,
  read,
  record,
  records,
  soon,
  startServer,
  store,
  until,
} from "./stage.ts";

let server: Address;
beforeAll(async () => {
  server = await startServer();
});

async function topicOn(driver: Driver): Promise<string> {
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  return name;
}

test("one call serves many topics and inboxes, and each record has its own result", async () => {
  const { driver } = await open(sqs(at(server)));
  const [one, two] = [await topicOn(driver), await topicOn(driver)];
  const reader = await read(driver, one, "g");
  const other = await read(driver, two, "g");
  const missing = fresh();
  const batch = [
    ...records(one, ...Array.from({ length: 25 }, (_, n) => `a${n}`)),
    record(missing, "nowhere"),
    record(two, "b"),
    record(two, "inbox", { target: { topic: two, group: "g" }, failures: 2 }),
    record(two, "no such group", { target: { topic: two, group: "nobody" } }),
  ];
  const found = outcomes(driver, await driver.publish(batch, soon()));
  expect(found.filter((outcome) => outcome === "ok")).toHaveLength(27);
  expect([found[25], found[28]]).toEqual(["NOT_FOUND no", "NOT_FOUND no"]);
  expect(new Set(ids(await reader.take(25)))).toEqual(new Set(batch.slice(0, 25).map(({ id }) => id)));
  const got = await other.take(2);
  expect(got.map(({ id, inbox, failures }) => [id, inbox, failures]).sort()).toEqual([
    ["b", false, 0],
    ["inbox", true, 2],
  ]);
});

test("what is too large for the service fails alone, before anything of it is sent", async () => {
  const fake = await faked(server);
  const { driver } = await open(sqs(at(fake)));
  const topic = await topicOn(driver);
  const before = fake.asked.length;
  const large = record(topic, "large", { body: Buffer.alloc(262_144) });
  expect(outcomes(driver, await driver.publish([large], soon()))).toEqual(["TOO_LARGE no"]);
  expect(fake.asked.length).toBe(before);
  const mixed = [
    record(topic, "a"),
    large,
    record(topic, "b"),
    ...[1, 2, 3].map((n) => record(topic, `big-${n}`, { body: Buffer.alloc(200_000, "x") })),
  ];
  expect(outcomes(driver, await driver.publish(mixed, soon()))).toEqual(["ok", "TOO_LARGE no", "ok", "ok", "ok", "ok"]);
  // No request has more than the service takes in all.
  expect(fake.asked.slice(before).filter(({ action }) => action === "PublishBatch")).toHaveLength(3);
});

test.each([
  ["throttled", "UNAVAILABLE no"],
  ["internal", "UNAVAILABLE maybe"],
  ["unavailable", "UNAVAILABLE maybe"],
  ["forbidden", "FORBIDDEN no"],
  ["expired", "UNAUTHENTICATED no"],
  ["overLimit", "QUOTA_EXCEEDED no"],
] as const)("a request that is answered with %s is reported so for each record, and never sent again", async (kind, outcome) => {
  const fake = await faked(server);
  for (const fanout of [true, false]) {
    fake.rule = () => undefined;
    const { driver } = await open(sqs({ ...at(fake), fanout }));
    const topic = await topicOn(driver);
    await store(driver, records(topic, "before"));
    const answer: FakeAnswer = FAKE_ANSWERS[kind];
    fake.rule = ({ action }) => (/Batch$/.test(action) ? answer : undefined);
    const before = fake.asked.length;
    expect(outcomes(driver, await driver.publish(records(topic, "a", "b"), soon()))).toEqual([outcome, outcome]);
    expect(fake.asked.length).toBe(before + 1);
  }
});

test("an answer that never comes leaves a record in doubt, and it may be there", async () => {
  const fake = await faked(server);
  const { driver } = await open(sqs(at(fake)));
  const topic = await topicOn(driver);
  const reader = await read((await open(sqs(at(server)))).driver, topic, "g");
  fake.rule = ({ action }) => (action === "PublishBatch" ? "cut" : undefined);
  expect(outcomes(driver, await driver.publish(records(topic, "doubtful"), soon()))).toEqual(["UNAVAILABLE maybe"]);
  expect(ids(await reader.take(1))).toEqual(["doubtful"]);
});

test("a server that goes away is noticed also by who asks nothing, and then nothing can have been sent", async () => {
  const fake = await faked(server);
  const { driver, downs } = await open(sqs(at(fake)));
  const topic = await topicOn(driver);
  await store(driver, records(topic, "before"));
  await fake.close();
  await until(() => downs.length > 0, "the driver to notice");
  expect(driver.classify(downs[0])).toEqual({ code: "UNAVAILABLE", retryable: true });
  expect(outcomes(driver, await driver.publish(records(topic, "a"), soon()))).toEqual(["UNAVAILABLE no"]);
});

test("an aborted request may have been stored, one that had not begun can not; both settle at once", async () => {
  const silent = createServer((socket) => void socket.on("error", () => {}));
  const { driver } = await open(sqs(at(server)));
  const topic = await topicOn(driver);
  await store(driver, records(topic, "warm"));
  const aborted = AbortSignal.abort();
  expect(outcomes(driver, await driver.publish(records(topic, "a"), aborted))).toEqual(["ABORTED no"]);
  const port = await new Promise<number>((resolve) =>
    silent.listen(0, "127.0.0.1", () => resolve((silent.address() as { port: number }).port)),
  );
  defer(async () => void silent.close());
  const { Aws } = await import("../src/client.ts");
  const { settingsOf } = await import("../src/options.ts");
  const aws = await Aws.open(settingsOf({ ...at({ host: "127.0.0.1", port }) }, false), () => {});
  defer(async () => aws.destroy());
  const admin = { known: () => ({ kind: "queue", url: `http://127.0.0.1:${port}/0/q` }) } as unknown as SqsAdmin;
  const abort = new AbortController();
  silent.once("connection", (socket) => socket.once("data", () => abort.abort()));
  const results = await publish({ aws, admin, fifo: false, now: Date.now }, records("t", "a", "b"), abort.signal);
  expect(outcomes(driver, results)).toEqual(["ABORTED maybe", "ABORTED maybe"]);
});

/** No emulator refuses single entries of ours, so this answer is a fake of the service's. */
test("of a batch that the service takes in part each record has its own result", async () => {
  const failed = (id: number, code: string, fault: boolean): string =>
    `<member><Code>${code}</Code><Message>&lt;why&gt;</Message><Id>${id}</Id><SenderFault>${fault}</SenderFault></member>`;
  const xml = `<PublishBatchResponse><PublishBatchResult><Successful><member><Id>0</Id></member><member><Id>4</Id></member></Successful>
    <Failed>${failed(1, "InternalError", false)}${failed(2, "InvalidMessageContents", true)}${failed(3, "ThrottlingException", false)}</Failed>
    </PublishBatchResult></PublishBatchResponse>`;
  const fakeClients = { topics: { post: async () => ({ statusCode: 200, headers: {}, body: Buffer.from(xml) }) } };
  const admin = { known: () => ({ kind: "topic", arn: "arn" }) } as unknown as SqsAdmin;
  const { driver } = await open(sqs(at(server)));
  const batch = records("t", "a", "b", "c", "d", "e", "unanswered");
  const results = await publish({ aws: fakeClients as never, admin, fifo: false, now: Date.now }, batch, soon());
  expect(outcomes(driver, results)).toEqual(["ok", "UNAVAILABLE maybe", "INVALID_ARGUMENT no", "UNAVAILABLE no", "ok", "INTERNAL maybe"]);
  expect(results.flatMap((result) => (result.ok ? [] : [(result.error as Error).message]))).toContain("<why>");
});

test("publishing the same again stores nothing, over the same connection and over another", async () => {
  const { driver } = await open(sqsFifo(at(server)));
  const topic = await topicOn(driver);
  const reader = await read(driver, topic, "g");
  const key = Buffer.from("k");
  const one = (dedupeId: string): WireRecord => record(topic, "a", { key, dedupeId });
  await store(driver, [one("act-1")]);
  await store(driver, [one("act-1")]);
  await store((await open(sqsFifo(at(server)))).driver, [one("act-1")]);
  await store(driver, [one("act-2"), record(topic, "last", { dedupeId: "last" })]);
  const got: (string | undefined)[] = [];
  while (!got.includes("last") || got.length < 3) {
    const deliveries = await reader.take(1);
    got.push(...ids(deliveries));
    await reader.subscription.ack(deliveries);
  }
  expect(got.sort()).toEqual(["a", "a", "last"]);
  expect(await driver.admin.lag(topic, "g", soon())).toMatchObject({ count: 0 });
});
