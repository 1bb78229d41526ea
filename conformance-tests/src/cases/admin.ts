import { defineTopic } from "brokerkit";
import { between, check, defined, equal, outcome, refuses, rejects } from "../assert.ts";
import { all, type Case, countsLag, hasGroups, redelivers } from "../case.ts";
import { many, publishMany } from "../context.ts";
import { Sink } from "../sink.ts";
import { anything, open, stage } from "../stage.ts";
import { gate, pass, until } from "../wait.ts";

export const admin: readonly Case[] = [
  {
    id: "lag/count",
    states: "Lag counts what the group has not acknowledged, and follows within one look: 0, then all, then what is left, then 0.",
    requires: all(redelivers, countsLag),
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      const group = topic.group("g");
      const exact = t.capabilities.lag.count === "exact" && t.capabilities.lag.unit === "message";
      const is = async (count: number, what: string): Promise<void> =>
        await until(
          async () => {
            const { messages } = await group.lag();
            return exact ? messages === count : (messages ?? -1) >= count;
          },
          () => `lag ${count} ${what}`,
        );
      equal(
        [(await group.lag()).kind, (await group.lag()).unit],
        [t.capabilities.lag.count, t.capabilities.lag.unit],
        "kind and unit, as declared",
      );
      await is(0, "of a group that has everything");
      await subscription.close();
      await publishMany(topic, many(25));
      await is(25, "of a group that nobody serves");
      if (exact) equal((await group.lag()).messages, 25, "lag.messages");
      await sink.join(topic, t.way());
      await sink.reaches(25);
      await until(async () => (await group.lag()).messages === 0, "lag 0 after everything was handled");
    },
    async twin(t) {
      if (!hasGroups(t.capabilities)) {
        const { broker, wire } = await t.record();
        await refuses(() => broker.topic(t.topic()).group("g").lag(), "UNSUPPORTED", "lag");
        equal(wire.of("admin.lag").length, 0, "admin.lag calls");
        return;
      }
      const { topic, wire } = await stage(t);
      await refuses(() => topic.group("g").lag(), "UNSUPPORTED", "lag");
      equal(wire.of("admin.lag").length, 0, "admin.lag calls");
    },
  },
  {
    id: "lag/in-flight",
    states: "Lag says how many are delivered and unsettled, where the backend knows, and says nothing where it does not.",
    requires: all(redelivers, countsLag),
    async run(t) {
      const hold = gate();
      const { topic, sink } = await stage(t, { consume: { concurrency: 2 } }, () => hold.opened);
      await publishMany(topic, many(4));
      await sink.reaches(2);
      const group = topic.group("g");
      if (!t.capabilities.lag.inFlight) {
        equal((await group.lag()).inFlight, undefined, "inFlight where it can't be known");
      } else {
        await until(async () => ((await group.lag()).inFlight ?? 0) >= 2, "two in flight");
        hold.open();
        await until(async () => (await group.lag()).inFlight === 0, "none in flight");
      }
      hold.open();
      await sink.reaches(4);
    },
  },
  {
    id: "lag/oldest",
    states: "Lag says the age of the oldest message not acknowledged, where the backend knows; nothing waiting has no age.",
    requires: all(redelivers, countsLag),
    async run(t) {
      const { topic, subscription, sink } = await stage(t);
      const group = topic.group("g");
      await subscription.close();
      equal((await group.lag()).oldestMs ?? 0, 0, "oldestMs with nothing waiting");
      await topic.publish("old");
      await pass(400);
      await topic.publish("new");
      const lag = await group.lag();
      if (t.capabilities.lag.oldest) between(defined(lag.oldestMs, "oldestMs"), 350, 10_000, "oldestMs, 400 ms after the oldest");
      else equal(lag.oldestMs, undefined, "oldestMs where it can't be known");
      await sink.join(topic, t.way());
      await sink.reaches(2);
    },
  },
  {
    id: "admin/created-on-use",
    states: 'provision "create" (the default) makes a missing topic at its first use, and never alters one.',
    async run(t) {
      const name = t.topic();
      const broker = await t.connect();
      await broker.topic(name).publish("x");
      if (!t.capabilities.topics.describe) return;
      equal((await broker.topic(name).describe()).exists, true, "exists after the first publish");
      const again = await t.record();
      const results = await again.broker.provision([defineTopic(name, { schema: anything })]);
      equal(
        results.map((result) => [result.topic, result.action]),
        [[name, "none"]],
        "provision of a topic that exists",
      );
    },
  },
  {
    id: "admin/verify",
    states: 'provision "verify" refuses a missing topic with NOT_FOUND and creates nothing.',
    requires: (c) => c.topics.describe && c.topics.explicit,
    async run(t) {
      const name = t.topic("missing");
      const { broker, wire } = await t.record({ provision: "verify" });
      await rejects(broker.topic(name).publish("x"), "NOT_FOUND", "publish with provision: verify");
      equal(wire.of("admin.createTopic").length + wire.of("publish").length, 0, "createTopic and publish calls");
    },
  },
  {
    id: "admin/off",
    states: 'provision "off" makes no administrative call at all.',
    async run(t) {
      const name = t.topic();
      await (await t.connect()).provision([defineTopic(name, { schema: anything })]);
      const { broker, wire } = await t.record({ provision: "off" });
      await broker.topic(name).publish("x");
      equal(
        wire.calls
          .filter((call) => call.operation === "admin.createTopic" || call.operation === "admin.describeTopic")
          .map((call) => call.operation),
        [],
        "administrative calls",
      );
    },
  },
  {
    id: "admin/provision",
    states: "provision creates topics and their groups; dryRun says what it would do and does nothing.",
    async run(t) {
      const { broker, wire } = await t.record();
      const groups = redelivers(t.capabilities) ? ["one", "two"].slice(0, t.capabilities.delivery.groups) : undefined;
      const topic = defineTopic(t.topic(), { schema: anything, groups });
      const dry = await broker.provision([topic], { dryRun: true });
      equal(wire.of("admin.createTopic").length + wire.of("admin.createGroup").length, 0, "create calls of a dry run");
      if (t.capabilities.topics.describe) {
        equal(dry[0]?.action, "create", "action of a dry run for a missing topic");
        check((dry[0]?.detail.length ?? 0) > 0, "detail says it in words");
      }
      await broker.provision([topic]);
      if (t.capabilities.topics.describe) {
        const described = await broker.topic(topic).describe();
        equal(described.exists, true, "exists");
        if (groups !== undefined && described.groups !== undefined) equal([...described.groups].sort(), groups, "groups");
      }
      const second = await broker.provision([topic]);
      equal(second[0]?.action, "none", "action for a topic that is there");
    },
  },
  {
    id: "admin/differs",
    states: 'A topic that is there with other options is never altered: provision says "differs", and provision "verify" refuses it.',
    requires: (c) => c.topics.describe && c.topics.partitions >= 4,
    async run(t) {
      const name = t.topic();
      await (await t.connect()).provision([defineTopic(name, { schema: anything, partitions: 2 })]);
      const other = defineTopic(name, { schema: anything, partitions: 4 });
      const { broker, wire } = await t.record({ provision: "verify" });
      const [result] = await broker.provision([other], { dryRun: true });
      equal(result?.action, "differs", "action");
      check((result?.detail ?? "").includes("2"), `detail says what is there: ${result?.detail}`);
      check(!(await outcome(broker.topic(other).publish("x"))).ok, "publish with provision: verify rejects");
      equal(wire.of("admin.createTopic").length + wire.of("publish").length, 0, "createTopic and publish calls");
      equal((await broker.topic(name).describe()).partitions, 2, "partitions");
    },
  },
  {
    id: "admin/describe",
    states: "describe says whether a topic exists and which groups it has; where the backend can't, it is UNSUPPORTED.",
    requires: (c) => c.topics.describe,
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      equal((await broker.topic(t.topic("missing")).describe()).exists, false, "a topic that nobody made exists");
      await broker.provision([defineTopic(topic.name, { schema: anything })]);
      equal((await topic.describe()).exists, true, "exists");
      if (!redelivers(t.capabilities)) return;
      const made = ["one", "two"].slice(0, t.capabilities.delivery.groups);
      for (const name of made) await topic.createGroup(name);
      const { groups } = await topic.describe();
      if (groups !== undefined) equal([...groups].sort(), made, "groups");
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).describe(), "UNSUPPORTED", "describe");
      equal(wire.of("admin.describeTopic").length, 0, "admin.describeTopic calls");
    },
  },
  {
    id: "admin/delete-topic",
    states: "Deleting a topic deletes its messages and groups; deleting what is not there succeeds.",
    requires: (c) => c.topics.describe,
    async run(t) {
      const { topic, sink, subscription, broker } = await stage(t);
      await topic.publish("old");
      await sink.reaches(1);
      await subscription.close();
      await topic.delete();
      equal((await topic.describe()).exists, false, "exists after delete");
      await topic.delete();
      const fresh = new Sink();
      const again = open(await t.connect(), topic.name);
      const second = await fresh.join(again, t.way());
      equal(second.startedFrom, "created", "startedFrom of the group, made anew");
      await again.publish("new");
      await fresh.sees(["new"]);
      equal(fresh.payloads, ["new"], "what the new topic holds");
      await broker.close();
    },
  },
  {
    id: "admin/delete-group",
    states: "A deleted group is gone: made again it starts as a new one, and its messages do not come back.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      await topic.publish("old");
      await sink.reaches(1);
      await subscription.close();
      await publishMany(topic, many(5));
      await topic.group("g").delete();
      await topic.group("g").delete();
      const again = new Sink();
      const second = await again.join(topic, t.way());
      equal(second.startedFrom, "created", "startedFrom");
      await topic.publish("new");
      await again.sees(["new"]);
      equal(again.payloads, ["new"], "delivered to the group made anew");
    },
  },
  {
    id: "admin/ping",
    states: "ping is a round trip to the backend and says how long it took.",
    async run(t) {
      const { broker, wire } = await t.record();
      between(await broker.ping(), 0, 5_000, "ms");
      equal(wire.of("ping").length, 1, "driver.ping calls");
      await refuses(() => broker.ping({ signal: AbortSignal.abort() }), "ABORTED", "ping with an aborted signal");
    },
  },
  {
    id: "admin/group-names-checked",
    states: "A handle for a group with a bad name is refused at once.",
    requires: hasGroups,
    async run(t) {
      const broker = await t.connect();
      await refuses(() => broker.topic(t.topic()).group("a.b"), "INVALID_ARGUMENT", "group(a.b)");
    },
  },
];
