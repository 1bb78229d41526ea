import { systemClock as clock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Admin, Driver, TopicSpec } from "brokerkit/driver";
import { Kafka, logLevel } from "kafkajs";
import { beforeAll, describe, expect, test } from "vitest";
import type { KafkaOptions } from "../src/index.ts";
import { endpointOf } from "../src/options.ts";
import { Cluster } from "../src/protocol/cluster.ts";
import { commitOffsets } from "../src/protocol/offsets.ts";
import { startKafka } from "./stage.ts";
import { at, atLast, defer, failure, fresh, ids, open, read, record, records, soon, store, until } from "./stage-driver.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startKafka();
  atLast(() => server.close());
});

interface OnTopic {
  readonly driver: Driver;
  readonly admin: Admin;
  readonly topic: string;
}

async function topicOn(spec: Partial<TopicSpec> = {}, options: KafkaOptions = {}): Promise<OnTopic> {
  const { driver } = await open(at(server, options));
  const topic = fresh();
  expect(await driver.admin.createTopic({ name: topic, ...spec }, soon())).toBe("created");
  return { driver, admin: driver.admin, topic };
}

/** A client that knows nothing of brokerkit. */
function plain() {
  const client = new Kafka({ brokers: [`${server.host}:${server.port}`], logLevel: logLevel.NOTHING, retry: { retries: 8 } });
  const admin = client.admin();
  defer(() => admin.disconnect());
  return { client, admin, connected: admin.connect() };
}

async function raw(): Promise<Cluster> {
  const cluster = await Cluster.open(endpointOf({ brokers: [`${server.host}:${server.port}`] }), clock, soon());
  defer(async () => cluster.close());
  return cluster;
}

/** Commits for the first partition of a topic, as an administrator may. */
async function commit(groupId: string, topic: string, offset: bigint): Promise<void> {
  await commitOffsets(await raw(), groupId, new Map([[topic, new Map([[0, offset]])]]), soon());
}

/** Keys that go to the partitions 0, 1 and 2 of three, by Kafka's own hash. */
async function spread(driver: Driver, topic: string): Promise<Map<number, string>> {
  const keys = new Map<number, string>();
  const all = await store(driver, records(topic, ..."abcdefghijkl"));
  all.forEach((result, n) => {
    if (result.ok) keys.set(Number(result.place?.split(":")[0]), "abcdefghijkl".charAt(n));
  });
  return keys;
}

describe("topics", () => {
  test("what retention is to take leaves the segment that is written to in time, unless the topic says how long that is", async () => {
    const segments = async (retention: { ms: number; bytes: number }, config = {}) => {
      const { topic } = await topicOn({ retention, native: { kafka: { config } } });
      const configurationKeys = ["segment.ms", "segment.bytes"];
      const cluster = await raw();
      const asked = [{ resourceType: 2 as const, resourceName: topic, configurationKeys }];
      const { results } = await cluster.ask("any", "DescribeConfigs", [asked, false, false], soon());
      return configurationKeys.map((key) => Number(results[0]?.configs.find(({ name }) => name === key)?.value));
    };
    expect(await segments({ ms: 700, bytes: 1 })).toEqual([700, 34_603_008]);
    expect(await segments({ ms: 1e12, bytes: 1e12 })).toEqual([604_800_000, 1_073_741_824]);
    expect(await segments({ ms: 700, bytes: 1 }, { "segment.ms": "9000" })).toEqual([9_000, 34_603_008]);
  });

  test("creating again alters nothing; describing tells partitions, retention and groups", async () => {
    const { admin, topic } = await topicOn({ partitions: 3, retention: { ms: 3_600_000, bytes: 1_000_000 } });
    expect(await admin.createTopic({ name: topic, partitions: 5, retention: { ms: 1 } }, soon())).toBe("existing");
    expect(await admin.createGroup(topic, "b", { kind: "latest" }, soon())).toBe("created");
    expect(await admin.createGroup(topic, "a", { kind: "earliest" }, soon())).toBe("created");
    expect(await admin.createGroup(topic, "b", { kind: "earliest" }, soon())).toBe("existing");
    expect(await admin.describeTopic(topic, soon())).toEqual({
      partitions: 3,
      retention: { ms: 3_600_000, bytes: 1_000_000 },
      groups: ["a", "b"],
    });
    expect(await admin.describeTopic(fresh(), soon())).toBeUndefined();
  });

  test("compaction, alone and with limits, and limits of the server's", async () => {
    const { admin, topic } = await topicOn({ retention: { compact: true } });
    expect(await admin.describeTopic(topic, soon())).toMatchObject({ retention: { compact: true } });
    const both = await topicOn({ retention: { compact: true, ms: 5_000 } });
    expect((await both.admin.describeTopic(both.topic, soon()))?.retention).toEqual({ compact: true, ms: 5_000 });
    const neither = await topicOn();
    expect((await neither.admin.describeTopic(neither.topic, soon()))?.retention).toEqual({ ms: 604_800_000 });
  });

  test("native options: copies and settings by Kafka's names, checked before anything is sent", async () => {
    const { admin, topic } = await topicOn({ native: { kafka: { replicationFactor: 1, config: { "max.message.bytes": "5000" } } } });
    const { admin: foreign, connected } = plain();
    await connected;
    const { resources } = await foreign.describeConfigs({ includeSynonyms: false, resources: [{ type: 2, name: topic }] });
    expect(resources[0]?.configEntries.find(({ configName }) => configName === "max.message.bytes")?.configValue).toBe("5000");
    const { driver } = await open(at(server));
    for (const [kafka, named] of [
      [{ replication: 1 }, "replication"],
      [{ replicationFactor: 0 }, "replicationFactor"],
      [{ config: { "retention.ms": 5 } }, "config"],
      [{ config: { "retention.ms": "5" } }, "retention.ms"],
      [5, "native.kafka"],
    ] as const) {
      const refused = await failure(driver, admin.createTopic({ name: fresh(), native: { kafka }, retention: { ms: 5_000 } }, soon()));
      expect([refused.code, refused.error.message]).toEqual(["INVALID_ARGUMENT", expect.stringContaining(named)]);
    }
    const copies = await failure(driver, admin.createTopic({ name: fresh(), native: { kafka: { replicationFactor: 3 } } }, soon()));
    expect([copies.code, copies.error.message]).toEqual(["INVALID_ARGUMENT", expect.stringContaining("INVALID_REPLICATION_FACTOR")]);
    expect(await admin.createTopic({ name: fresh(), native: { redis: { maxLength: 1 } } }, soon())).toBe("created");
  });

  test("a topic of somebody else is one, and its groups by other names are not told", async () => {
    const { driver, admin } = await topicOn();
    const { admin: foreign, connected } = plain();
    await connected;
    const topic = fresh();
    await foreign.createTopics({ topics: [{ topic, numPartitions: 2 }] });
    await commit("somebody", topic, 0n);
    expect(await admin.createTopic({ name: topic }, soon())).toBe("existing");
    expect(await admin.describeTopic(topic, soon())).toMatchObject({ partitions: 2, groups: [] });
    expect(await driver.describe(topic, soon())).toMatchObject({ seek: "idle" });
  });

  test("what is missing is NOT_FOUND to all that need it, and deleting it succeeds", async () => {
    const { driver, admin, topic } = await topicOn();
    const missing = fresh();
    const asked = [
      admin.position(missing, undefined, soon()),
      admin.position(missing, "g", soon()),
      admin.position(topic, "g", soon()),
      admin.lag(topic, "g", soon()),
      admin.seek(topic, "g", { kind: "latest" }, soon()),
      admin.createGroup(missing, "g", { kind: "latest" }, soon()),
      driver.describe(missing, soon()),
      driver.subscribe(
        {
          topic: missing,
          group: "g",
          from: { kind: "latest" },
          credit: 1,
          events: { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} },
        },
        soon(),
      ),
      driver.replay({ topic: missing, from: { kind: "earliest" }, follow: false, events: { dataLoss: () => {} } }, soon()),
    ];
    const codes = await Promise.all(asked.map(async (call) => (await failure(driver, call)).code));
    expect(codes).toEqual(asked.map(() => "NOT_FOUND"));
    await admin.deleteGroup(topic, "g", soon());
    await admin.deleteGroup(missing, "g", soon());
    await admin.deleteTopic(missing, soon());
  });

  test("deleting takes groups and inboxes along, and one that is made again begins afresh", async () => {
    const { driver, admin, topic } = await topicOn({ partitions: 2 });
    await admin.createGroup(topic, "g", { kind: "earliest" }, soon());
    await store(driver, [...records(topic, "1", "2", "3"), record(topic, "in", { target: { topic, group: "g" } })]);
    await admin.seek(topic, "g", { kind: "latest" }, soon());
    const { admin: foreign, connected } = plain();
    await connected;
    const left = async () => ({
      topics: (await foreign.listTopics()).filter((name) => name.startsWith(topic)).sort(),
      groups: (await foreign.listGroups()).groups.map(({ groupId }) => groupId).filter((name) => name.startsWith(topic)),
    });
    expect(await left()).toEqual({ topics: [topic, `${topic}.g.retry`], groups: [`${topic}.g`] });
    await admin.deleteTopic(topic, soon());
    await admin.deleteTopic(topic, soon());
    expect(await left()).toEqual({ topics: [], groups: [] });
    expect(await admin.createTopic({ name: topic, partitions: 2 }, soon())).toBe("created");
    await store(driver, records(topic, "4"));
    const { take } = await read(driver, topic, "g", { from: { kind: "earliest" } });
    expect(ids(await take(1))).toEqual(["4"]);
  });

  test("deleting under a member leaves no offset behind", async () => {
    const { driver, admin, topic } = await topicOn();
    const { subscription, take } = await read(driver, topic, "g");
    await store(driver, records(topic, "1", "2", "3"));
    await subscription.ack(await take(3));
    await admin.deleteTopic(topic, soon());
    await subscription.close();
    await admin.createTopic({ name: topic }, soon());
    await until(
      async () => (await failure(driver, admin.position(topic, "g", soon()))).code === "NOT_FOUND",
      "the coordinator to forget the offsets of the topic that is gone",
    );
  });
});

describe("groups", () => {
  test("of several that create a group at once, one decides, and nothing published after any of them is missed", async () => {
    const { driver, admin, topic } = await topicOn({ partitions: 3 });
    await store(driver, records(topic, "before"));
    const others = await Promise.all(Array.from({ length: 4 }, () => open(at(server))));
    const outcomes = await Promise.all(
      others.map(async (other, n) => {
        const outcome = await other.driver.admin.createGroup(topic, "g", { kind: "latest" }, soon(20_000));
        await store(other.driver, records(topic, `after-${n}`));
        return outcome;
      }),
    );
    expect(outcomes.filter((outcome) => outcome === "created")).toHaveLength(1);
    expect((await admin.lag(topic, "g", soon())).count).toBe(4);
    const { take } = await read(driver, topic, "g");
    expect(ids(await take(4)).sort()).toEqual(["after-0", "after-1", "after-2", "after-3"]);
  });

  test("creating one that runs is no disturbance to its members", async () => {
    const { driver, admin, topic } = await topicOn({ partitions: 3 });
    const { lost, take, subscription } = await read(driver, topic, "g");
    expect(await admin.createGroup(topic, "g", { kind: "earliest" }, soon())).toBe("existing");
    await store(driver, records(topic, "1"));
    const got = await take(1);
    expect(await subscription.ack(got)).toEqual(["confirmed"]);
    expect(lost).toEqual([]);
  });

  test.each(["classic", "consumer"] as const)(
    "with members (%s) one can't be moved or deleted, and they are named",
    async (groupProtocol) => {
      const { driver, admin, topic } = await topicOn({ partitions: 2 }, { groupProtocol, clientId: "billing-7" });
      const { subscription } = await read(driver, topic, "g");
      await store(driver, records(topic, "1", "2"));
      const before = await admin.position(topic, "g", soon());
      const calls = [() => admin.seek(topic, "g", { kind: "latest" }, soon()), () => admin.deleteGroup(topic, "g", soon())];
      for (const call of calls) {
        const { code, error } = await failure(driver, call());
        expect(code).toBe("GROUP_ACTIVE");
        expect((error as { members?: unknown }).members).toEqual([expect.stringMatching(/^billing-7 \(.*127\.0\.0\.1\)$/)]);
        expect(error.message).toContain("billing-7");
      }
      expect(await admin.position(topic, "g", soon())).toEqual(before);
      await subscription.close();
      await admin.seek(topic, "g", { kind: "latest" }, soon());
      expect((await admin.lag(topic, "g", soon())).count).toBe(0);
      await admin.deleteGroup(topic, "g", soon());
      expect((await failure(driver, admin.lag(topic, "g", soon()))).code).toBe("NOT_FOUND");
    },
  );

  test("seek goes to the earliest, the latest, a time and a cut, in every partition, and clears the inbox", async () => {
    const { driver, admin, topic } = await topicOn({ partitions: 3 });
    const keys = await spread(driver, topic);
    expect([...keys.keys()].sort()).toEqual([0, 1, 2]);
    const end = await admin.position(topic, undefined, soon());
    await admin.createGroup(topic, "g", { kind: "latest" }, soon());
    expect(await admin.position(topic, "g", soon())).toEqual(end);
    await until(() => Date.now() > began, "a later millisecond");
    const later = Date.now();
    await until(() => Date.now() > later + 5, "a later millisecond");
    const more = [...keys.values()].map((key) => record(topic, `later-${key}`, { key: Buffer.from(key) }));
    await store(driver, [...more, record(topic, "in", { target: { topic, group: "g" } })]);
    const count = async () => (await admin.lag(topic, "g", soon())).count;
    expect(await count()).toBe(4);
    await admin.seek(topic, "g", { kind: "earliest" }, soon());
    expect([await count(), await admin.position(topic, "g", soon())]).toEqual([15, new Map()]);
    await admin.seek(topic, "g", { kind: "latest" }, soon());
    expect(await count()).toBe(0);
    await admin.seek(topic, "g", { kind: "time", ms: later + 1 }, soon());
    expect([await count(), await admin.position(topic, "g", soon())]).toEqual([3, end]);
    await admin.seek(topic, "g", { kind: "time", ms: Date.now() + 60_000 }, soon());
    expect(await count()).toBe(0);
    await admin.seek(topic, "g", { kind: "position", cut: end }, soon());
    expect(await count()).toBe(3);
    const { take } = await read(driver, topic, "g");
    expect(ids(await take(3)).sort()).toEqual(more.map(({ id }) => id).sort());
  });
  const began = Date.now();

  test("lag counts what is unread and the inbox, knows the oldest, and leaves out what retention has taken", async () => {
    const { driver, admin, topic } = await topicOn({ partitions: 3 });
    await admin.createGroup(topic, "g", { kind: "latest" }, soon());
    expect(await admin.lag(topic, "g", soon())).toEqual({ count: 0, inFlight: undefined, oldestMs: 0 });
    const at = Date.now();
    await store(driver, [record(topic, "old", { publishedAt: at - 30_000 }), ...records(topic, "1", "2", "3")]);
    await store(driver, [record(topic, "in", { target: { topic, group: "g" } })]);
    const lag = await admin.lag(topic, "g", soon());
    expect(lag.count).toBe(5);
    expect(lag.oldestMs).toBeGreaterThanOrEqual(30_000);
    expect(lag.oldestMs).toBeLessThan(40_000);
    const { admin: foreign, connected } = plain();
    await connected;
    const partitions = (await foreign.fetchTopicOffsets(topic)).map(({ partition, high }) => ({ partition, offset: high }));
    await foreign.deleteTopicRecords({ topic, partitions });
    expect((await admin.lag(topic, "g", soon())).count).toBe(1);
  });

  test("a consumer group that exists already is taken over by its name, and keeps what it has of other topics", async () => {
    const naming = { group: (_topic: string, group: string) => group };
    const { driver, admin, topic } = await topicOn({ partitions: 1 }, { naming });
    const other = fresh();
    await admin.createTopic({ name: other }, soon());
    const group = `somebody-${topic}`;
    const { admin: foreign, connected } = plain();
    await connected;
    await store(driver, records(topic, "1", "2", "3"));
    await commit(group, other, 0n);
    await commit(group, topic, 2n);
    expect(await admin.createGroup(topic, group, { kind: "latest" }, soon())).toBe("existing");
    expect(await admin.position(topic, group, soon())).toEqual(new Map([["0", "0:1"]]));
    expect((await admin.describeTopic(topic, soon()))?.groups).toBeUndefined();
    await admin.deleteGroup(topic, group, soon());
    const kept = await foreign.fetchOffsets({ groupId: group, topics: [topic, other] });
    expect(kept.map(({ partitions }) => partitions[0]?.offset)).toEqual(["-1", "0"]);
  });
});
