import { setTimeout as pass } from "node:timers/promises";
import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy, until } from "@brokerkit/conformance/faults";
import type { DriverError } from "brokerkit/driver";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { unavailable } from "../src/protocol/client-error.ts";
import type { Cluster } from "../src/protocol/cluster.ts";
import { until as bounded } from "../src/protocol/waiting.ts";
import { startKafka } from "./stage.ts";
import { createTopic, defer, fresh, growTopic, join, Ledger, leave, openCluster, type Protocol, setSession } from "./stage-member.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startKafka();
});
afterAll(() => broker?.close());

/** `on` is called for each line that is opened from now on; what it returns goes before each request of that line, and may throw instead. */
function beforeAsking(cluster: Cluster, on: () => (name: string, signal: AbortSignal) => Promise<void>): void {
  const line = cluster.line.bind(cluster);
  cluster.line = (onCut) => {
    const made = line(onCut);
    const ask = made.ask.bind(made);
    const before = on();
    made.ask = (async (...args: Parameters<typeof ask>) => {
      await before(args[1], args[3] as AbortSignal);
      return ask(...args);
    }) as typeof ask;
    return made;
  };
}

describe.each<Protocol>(["classic", "consumer"])("members of the %s protocol", (protocol) => {
  it("share partitions evenly as members come and go, and none is ever owned twice", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 8);
    const ledger = new Ledger(topic, 8);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger, protocol };
    const first = await join({ ...member, name: "a" });
    await ledger.rest(8);
    const others = await Promise.all(["b", "c", "d"].map((name) => join({ ...member, name })));
    await ledger.rest(2, 2, 2, 2);
    expect(new Set(first.membership.owned.map(({ partition }) => partition)).size).toBe(2);
    await Promise.all(others.map((other, at) => leave(other, ledger, "bcd".charAt(at))));
    await ledger.rest(8);
    expect(first.membership.owned).toHaveLength(8);
    expect(ledger.overlaps).toEqual([]);
    expect(first.failures).toEqual([]);
  });

  it("keep what does not move through a rebalance", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 4);
    const ledger = new Ledger(topic, 4);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger, protocol };
    await join({ ...member, name: "a" });
    await ledger.rest(4);
    await join({ ...member, name: "b" });
    await ledger.rest(2, 2);
    expect(ledger.story.filter((line) => line.startsWith("a revoked"))).toHaveLength(2);
    expect(ledger.story.filter((line) => line.startsWith("a assigned"))).toHaveLength(4);
  });

  it("wait until an owner has given a partition up", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const ledger = new Ledger(topic, 2);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger, protocol };
    const asked = Promise.withResolvers<void>();
    const may = Promise.withResolvers<void>();
    const giving = async (): Promise<void> => {
      asked.resolve();
      await may.promise;
    };
    await join({ ...member, name: "a", giving });
    await ledger.rest(2);
    const second = await join({ ...member, name: "b" });
    await asked.promise;
    // Longer than a session: heartbeats go on while the owner takes its time.
    const later = performance.now() + 2_500;
    await until(() => performance.now() > later, { timeoutMs: 5_000, what: "time to pass" });
    expect(second.membership.owned).toEqual([]);
    expect(ledger.sizes()).toEqual([2]);
    may.resolve();
    await ledger.rest(1, 1);
    expect(ledger.overlaps).toEqual([]);
    expect(ledger.story.filter((line) => line.includes("lost"))).toEqual([]);
  });

  it("know that they have lost everything before anybody else has it, when their link is dead", async () => {
    const proxy = await startProxy(broker);
    defer(() => proxy.close());
    const [near, far] = [await openCluster(broker), await openCluster(broker, proxy)];
    const topic = await createTopic(near, 4);
    const ledger = new Ledger(topic, 4);
    const member = { groupId: fresh("group"), topics: [topic], ledger, protocol };
    const stuck = await join({ ...member, cluster: far, name: "a" });
    await join({ ...member, cluster: near, name: "b" });
    await ledger.rest(2, 2);
    const before = ledger.story.length;
    proxy.pause();
    await ledger.rest(4);
    expect(ledger.story.slice(before).map((line) => line.split(" ", 2).join(" "))).toEqual([
      "a lost",
      "a lost",
      "b assigned",
      "b assigned",
    ]);
    expect(stuck.membership.owned).toEqual([]);
    await proxy.heal();
    await ledger.rest(2, 2);
    expect(ledger.overlaps).toEqual([]);
    expect(stuck.failures).toEqual([]);
  });

  it("come back under the same instance id without disturbing others", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 4);
    const ledger = new Ledger(topic, 4);
    const groupId = fresh("group");
    await setSession(cluster, groupId, 20_000);
    const member = { cluster, groupId, topics: [topic], ledger, protocol, sessionMs: 20_000 };
    const first = await join({ ...member, name: "a", instanceId: "one" });
    await join({ ...member, name: "b", instanceId: "two" });
    await ledger.rest(2, 2);
    const had = first.membership.owned;
    const before = ledger.story.length;
    await leave(first, ledger, "a");
    const again = await join({ ...member, name: "a2", instanceId: "one" });
    await ledger.rest(2, 2);
    expect(again.membership.owned).toEqual(had);
    expect(again.membership.epoch.instanceId).toMatch(/^one-[0-9a-f]{12}-1$/);
    expect(ledger.story.slice(before).filter((line) => line.startsWith("b "))).toEqual([]);
  });

  it("are told when another process takes their instance id", async () => {
    const [cluster, other] = [await openCluster(broker), await openCluster(broker)];
    const topic = await createTopic(cluster, 2);
    const ledger = new Ledger(topic, 2);
    const member = { groupId: fresh("group"), topics: [topic], ledger, protocol, instanceId: "same" };
    const first = await join({ ...member, cluster, name: "a" });
    await ledger.rest(2);
    if (protocol === "classic") {
      await join({ ...member, cluster: other, name: "b" });
      await until(() => first.failures.length > 0, { timeoutMs: 10_000, what: "a failure" });
      expect(first.failures).toEqual([
        expect.objectContaining({ driverCode: "INVALID_ARGUMENT", message: expect.stringMatching(/"same-[0-9a-f]{12}-1"/) }),
      ]);
      expect(first.membership.owned).toEqual([]);
    } else {
      // Here who has the name keeps it, and who wants it waits for the end of that session.
      const second = join({ ...member, cluster: other, name: "b" });
      await leave(first, ledger, "a");
      await second;
      await ledger.rest(2);
    }
  });

  it("are given partitions and topics that appear while they run", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const later = fresh("later");
    const ledger = new Ledger(topic, 4);
    const member = { cluster, groupId: fresh("group"), topics: [topic, later], ledger, protocol };
    const { membership } = await join({ ...member, name: "a" });
    const other = await join({ ...member, name: "b" });
    await until(() => ledger.sizes().join() === "1,1", { timeoutMs: 10_000, what: "one partition each" });
    await growTopic(cluster, topic, 4);
    other.membership.refresh();
    await ledger.rest(2, 2);
    await createTopic(cluster, 2, later);
    membership.refresh();
    await ledger.rest(3, 3);
    // One moved to the second member, unless that joined before the coordinator knew the topic. Nothing moved afterwards.
    expect(ledger.story.filter((line) => line.includes("revoked")).length).toBeLessThanOrEqual(1);
    expect(ledger.overlaps).toEqual([]);
  });

  it("lose what they do not give up in time", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const ledger = new Ledger(topic, 2);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger, protocol, rebalanceMs: 1_000 };
    const never = Promise.withResolvers<void>();
    const stubborn = await join({ ...member, name: "a", giving: () => never.promise });
    await ledger.rest(2);
    await join({ ...member, name: "b" });
    await ledger.rest(1, 1);
    expect(ledger.story.slice(2).map((line) => line.split(":")[0])).toEqual([`a lost ${topic}`, `b assigned ${topic}`]);
    expect(ledger.overlaps).toEqual([]);
    expect(stubborn.membership.owned).toHaveLength(1);
    never.resolve();
  });

  it("lose everything and join anew when they are thrown out", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const ledger = new Ledger(topic, 2);
    const groupId = fresh("group");
    const { membership, failures } = await join({ cluster, groupId, topics: [topic], ledger, protocol, name: "a" });
    await ledger.rest(2);
    const { memberId } = membership.epoch;
    const node = await cluster.coordinator(groupId);
    if (protocol === "classic")
      await cluster.ask(node, "LeaveGroup", [groupId, [{ memberId, groupInstanceId: null, reason: "thrown out" }]]);
    else await cluster.ask(node, "ConsumerGroupHeartbeat", [groupId, memberId, -1, null, null, -1, null, null, null, null]);
    await until(() => ledger.story.length >= 6, { timeoutMs: 10_000, what: "another assignment" });
    const [assigned, lost] = [expect.stringMatching(/^a assigned/), expect.stringMatching(/^a lost/)];
    expect(ledger.story).toEqual([assigned, assigned, lost, lost, assigned, assigned]);
    expect(membership.owned).toHaveLength(2);
    expect(failures).toEqual([]);
  });

  it("hear of nothing after they have left, and leave on a dead link in time", async () => {
    const proxy = await startProxy(broker);
    defer(() => proxy.close());
    const [near, far] = [await openCluster(broker), await openCluster(broker, proxy)];
    const topic = await createTopic(near, 2);
    const ledger = new Ledger(topic, 2);
    const member = { groupId: fresh("group"), topics: [topic], ledger, protocol };
    const first = await join({ ...member, cluster: far, name: "a" });
    await ledger.rest(2);
    proxy.pause();
    const started = performance.now();
    await leave(first, ledger, "a");
    expect(ranFor(started)).toBeLessThan(2_500);
    await leave(first, ledger, "a");
    expect(first.membership.owned).toEqual([]);
    await join({ ...member, cluster: near, name: "b" });
    await ledger.rest(2);
    expect(ledger.story.filter((line) => line.startsWith("a "))).toEqual(
      ["assigned", "assigned", "left", "left"].map((what) => expect.stringContaining(what)),
    );
  });
});

it("a member that had to believe its session over joins anew although the coordinator still counts on it", async () => {
  const proxy = await startProxy(broker);
  defer(() => proxy.close());
  const [near, far] = [await openCluster(broker), await openCluster(broker, proxy)];
  for (const protocol of ["classic", "consumer"] as const) {
    const topic = await createTopic(near, 4);
    const ledger = new Ledger(topic, 4);
    const groupId = fresh("group");
    await setSession(near, groupId, 2_000);
    const member = { groupId, topics: [topic], ledger, protocol, sessionMs: 2_000 };
    const first = await join({ ...member, cluster: far, name: "a" });
    await ledger.rest(4);
    // The coordinator's patience grows after the member has asked how long it is, so that the two disagree.
    await setSession(near, groupId, 45_000);
    proxy.pause();
    await until(() => ledger.owners.size === 0, { timeoutMs: 10_000, what: "the loss of everything" });
    await proxy.heal();
    await ledger.rest(4);
    expect(ledger.story.map((line) => line.split(" ")[1])).toEqual(["assigned", "lost", "assigned"].flatMap((what) => Array(4).fill(what)));
    expect(first.failures).toEqual([]);
  }
});

it("members keep what they own while connections are cut and the coordinator restarts, within the session", async () => {
  const near = await openCluster(broker);
  const proxy = await startProxy(broker);
  defer(() => proxy.close());
  const far = await openCluster(broker, proxy);
  const started = (["classic", "consumer"] as const).map(async (protocol) => {
    const topic = await createTopic(near, 4);
    const ledger = new Ledger(topic, 4);
    const member = { groupId: fresh("group"), topics: [topic], ledger, protocol, sessionMs: 45_000 };
    await setSession(near, member.groupId, member.sessionMs);
    const members = [await join({ ...member, cluster: near, name: "a" }), await join({ ...member, cluster: far, name: "b" })];
    await ledger.rest(2, 2);
    return { member, members, ledger, before: ledger.story.length };
  });
  const groups = await Promise.all(started);
  proxy.cut();
  await broker.kill();
  await broker.restart();
  for (const { member, members, ledger, before } of groups) {
    // A third member shows that the group goes on as it was: it gets the one partition that moves.
    members.push(await join({ ...member, cluster: near, name: "c" }));
    await ledger.rest(1, 1, 2);
    const story = ledger.story.slice(before).map((line) => line.split(" ", 2).join(" "));
    expect(story).toEqual([expect.stringMatching(/^[ab] revoked$/), "c assigned"]);
    expect(members.flatMap(({ failures }) => failures)).toEqual([]);
  }
}, 60_000);

describe("members of the classic protocol", () => {
  it("that give up joining leave nobody behind for whom the others would wait", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 4);
    const ledger = new Ledger(topic, 4);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger, protocol: "classic" as const, rebalanceMs: 60_000 };
    const asked = Promise.withResolvers<void>();
    const may = Promise.withResolvers<void>();
    const giving = async (): Promise<void> => {
      asked.resolve();
      await may.promise;
    };
    await join({ ...member, name: "a", giving });
    await ledger.rest(4);
    await join({ ...member, name: "b" });
    await asked.promise;
    const giveUp = new AbortController();
    const third = join({ ...member, name: "c", sessionMs: 60_000, signal: giveUp.signal });
    const given = expect(third).rejects.toThrow("enough");
    const node = await cluster.coordinator(member.groupId);
    const members = async (): Promise<number | undefined> => {
      const { groups } = await cluster.ask(node, "DescribeGroups", [[member.groupId], false]);
      return groups[0]?.members.length;
    };
    await until(async () => (await members()) === 3, { timeoutMs: 5_000, what: "a third member" });
    giveUp.abort(new Error("enough"));
    await given;
    may.resolve();
    await ledger.rest(2, 2);
    expect(ledger.story.filter((line) => line.startsWith("c"))).toEqual([]);
  });

  /** Lets no SyncGroup be sent before a heartbeat was missed in this way. */
  const missing = (cluster: Cluster, missed: unknown): void => {
    const beaten = Promise.withResolvers<void>();
    beforeAsking(cluster, () => {
      let first = true;
      return async (name, signal) => {
        if (name === "SyncGroup") await bounded(signal, beaten.promise);
        if (name !== "Heartbeat" || !first) return;
        first = false;
        beaten.resolve();
        throw missed;
      };
    });
  };

  it("join all the same when a heartbeat goes astray meanwhile", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    missing(cluster, unavailable("lost on its way"));
    const ledger = new Ledger(topic, 2);
    const member = await join({ cluster, groupId: fresh("group"), topics: [topic], ledger, name: "a", protocol: "classic" });
    await ledger.rest(2);
    expect(member.failures).toEqual([]);
  });

  it("that may not go on while they join say why, and not that their connection was closed", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    missing(cluster, new cluster.client.ProtocolError("GROUP_AUTHORIZATION_FAILED"));
    const joining = join({
      cluster,
      groupId: fresh("group"),
      topics: [topic],
      ledger: new Ledger(topic, 2),
      name: "a",
      protocol: "classic",
    });
    await expect(joining).rejects.toThrow("GROUP_AUTHORIZATION_FAILED");
  });

  it("refuse a group that shares out by another protocol, in words", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const groupId = fresh("group");
    const kafka = new Kafka({ brokers: [`${broker.host}:${broker.port}`], logLevel: logLevel.NOTHING });
    const foreign = kafka.consumer({ groupId });
    defer(() => foreign.disconnect());
    await foreign.connect();
    await foreign.subscribe({ topic });
    const joined = new Promise((resolve) => foreign.on("consumer.group_join", resolve));
    await foreign.run({ eachMessage: async () => {} });
    await joined;
    const joining = join({ cluster, groupId, topics: [topic], ledger: new Ledger(topic, 2), name: "a", protocol: "classic" });
    const refused = await joining.then(
      () => undefined,
      (error: unknown) => error as DriverError,
    );
    expect(refused?.driverCode).toBe("INVALID_ARGUMENT");
    expect(refused?.message).toContain(groupId);
    expect(refused?.message).toContain('"cooperative-sticky"');
  });

  it("and of the consumer protocol share a group while it moves from one to the other", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 4);
    const ledger = new Ledger(topic, 4);
    const member = { cluster, groupId: fresh("group"), topics: [topic], ledger };
    const old = await join({ ...member, name: "a", protocol: "classic" });
    await ledger.rest(4);
    await join({ ...member, name: "b", protocol: "consumer" });
    await ledger.rest(2, 2);
    await leave(old, ledger, "a");
    await ledger.rest(4);
    // Nothing is said of overlaps: Kafka 4.1 at times gives to the new member before the old one has heard of it.
    expect(old.failures).toEqual([]);
  });
});

describe("members of the consumer protocol", () => {
  it("join a coordinator that takes longer to begin with than a session could wait: there is none to lose yet", async () => {
    const cluster = await openCluster(broker);
    const topic = await createTopic(cluster, 2);
    const slow = new Set(["DescribeConfigs", "ConsumerGroupHeartbeat"]);
    beforeAsking(cluster, () => async (name, signal) => {
      if (slow.delete(name)) await bounded(signal, pass(700));
    });
    const ledger = new Ledger(topic, 2);
    const member = await join({ cluster, groupId: fresh("group"), topics: [topic], ledger, name: "a", protocol: "consumer" });
    expect(slow.size).toBe(0);
    await ledger.rest(2);
    expect(member.failures).toEqual([]);
  });
});
