import { type Batch, type Delivery, defineTopic, type Position, type Start, type SubscribeOptions } from "brokerkit";
import type { StartKind } from "brokerkit/driver";
import { check, defined, eachOnce, equal, outcome, refuses, rejects } from "../assert.ts";
import { all, type Case, hasBroadcast, hasGroups, hasKeys, hasMoreGroups, redelivers, replays } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { type AnyTopic, Sink } from "../sink.ts";
import { anything, open, stage } from "../stage.ts";
import { gate, now, pass, until, within } from "../wait.ts";

/** `Date`s compare in ms on the backend's clock: a moment in which nothing is published stands on both sides. */
async function moment(): Promise<Date> {
  await pass(40);
  const at = new Date();
  await pass(40);
  return at;
}

/** The topic's end as a position, by a replay opened now. */
async function endOf(topic: AnyTopic): Promise<Position> {
  await using replay = topic.replay({ from: "earliest" });
  return await replay.end;
}

/** What a new group from latest gets of what came before: nothing, or, where it is the only one there can be and begins with its topic, all. */
function inherited(t: Context, before: readonly string[]): readonly string[] {
  return t.capabilities.delivery.groups === 1 ? before : [];
}

/** A new reader that starts at `kind`, half-way through ten messages, sees exactly what that start says. */
async function startsFrom(t: Context, kind: StartKind, way: (from: Start | undefined) => SubscribeOptions): Promise<void> {
  const broker = await t.connect();
  const name = t.topic("from");
  await broker.provision([defineTopic(name, { schema: anything })]);
  const topic = broker.topic(name);
  await publishMany(topic, many(5, "before"));
  const from: Record<StartKind, () => Promise<Start | undefined>> = {
    latest: async () => undefined,
    earliest: async () => "earliest",
    time: moment,
    position: () => endOf(topic),
  };
  const start = await from[kind]();
  const early = kind === "time" || kind === "position" ? many(5, "between") : [];
  await publishMany(topic, early);
  const sink = new Sink();
  await sink.join(topic, way(start));
  await publishMany(topic, many(5, "after"));
  const first: Partial<Record<StartKind, readonly string[]>> = { earliest: many(5, "before"), latest: inherited(t, many(5, "before")) };
  const expected = [...(first[kind] ?? []), ...early, ...many(5, "after")];
  await sink.sees(expected);
  eachOnce(sink.payloads, expected, `a new reader from ${kind}`);
}

function fromCases(kind: StartKind): readonly Case[] {
  const needsPosition = (c: { readonly from: { readonly replay: readonly string[] } }): boolean =>
    kind !== "position" || c.from.replay.includes("earliest");
  const example: Record<StartKind, Start> = { latest: "latest", earliest: "earliest", time: new Date(0), position: "eyJ9" as Position };
  const refused = async (t: Context, o: SubscribeOptions): Promise<void> => {
    const { broker, wire } = await t.record();
    const codes = kind === "position" ? (["UNSUPPORTED", "INVALID_ARGUMENT"] as const) : (["UNSUPPORTED"] as const);
    await refuses(() => new Sink().join(broker.topic(t.topic()), o), codes, `subscribe from ${kind}`);
    equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
  };
  return [
    {
      id: `subscribe/from-${kind}`,
      states: `A new group from ${kind} gets exactly what that start says, and everything after.`,
      requires: all(hasGroups, (c) => c.from.group.includes(kind), needsPosition),
      run: (t) => startsFrom(t, kind, (from) => ({ ...t.way(), from })),
      twin: (t) => refused(t, { group: "g", deadLetter: "drop", from: example[kind] }),
    },
    {
      id: `subscribe/broadcast-from-${kind}`,
      states: `A broadcast subscriber from ${kind} gets exactly what that start says, and everything after.`,
      requires: all(hasBroadcast, (c) => c.from.broadcast.includes(kind), needsPosition),
      run: (t) => startsFrom(t, kind, (from) => ({ broadcast: true, from })),
      twin: (t) => refused(t, { broadcast: true, from: example[kind] }),
    },
  ];
}

export const subscribe: readonly Case[] = [
  {
    id: "subscribe/group-shares",
    states: "Members of a group share its messages without overlap: each is handled once in all, by several members.",
    requires: hasGroups,
    async run(t) {
      const name = t.topic();
      const sink = new Sink();
      // Where members take whole shards, one shard is work for one of them.
      const define = t.capabilities.topics.partitions > 1 ? { partitions: 4 } : {};
      const release = gate();
      for (let n = 0; n < 4; n += 1) {
        const broker = await t.connect();
        // Handlers wait for each other, so that no single fast member can take everything.
        await sink.join(open(broker, name, define), { ...t.way(), concurrency: 4 }, () => release.opened);
      }
      const topic = open(await t.connect(), name, define);
      const sent = publishMany(topic, many(400), (n) => (t.capabilities.message.key ? `k${n}` : undefined));
      await until(() => new Set(sink.facts.map((fact) => fact.member)).size >= 2 || sink.running >= 16, "two members to be at work");
      release.open();
      await sent;
      await sink.reaches(400);
      await sink.rests();
      eachOnce(sink.payloads, many(400), "handled by the group");
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      const error = await refuses(
        () => new Sink().join(broker.topic(t.topic()), { group: "g", deadLetter: "drop" }),
        "UNSUPPORTED",
        "subscribe with a group",
      );
      equal(error.details.capability, "groups", "details.capability");
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/members-of-one-broker",
    states: "Two members on one connection share like any others; when one closes, the other goes on with everything.",
    requires: hasGroups,
    async run(t) {
      const topic = (await t.connect()).topic(t.topic());
      const sink = new Sink();
      const one = await sink.join(topic, { ...t.way(), concurrency: 4 }, () => pass(2));
      await sink.join(topic, { ...t.way(), concurrency: 4 }, () => pass(2));
      const key = (n: number): string | undefined => (t.capabilities.message.key ? `k${n % 31}` : undefined);
      await publishMany(topic, many(100), key);
      await sink.reaches(50);
      await one.close();
      await publishMany(topic, many(200).slice(100), key);
      await sink.reaches(200, t.patience);
      await sink.rests();
      eachOnce(sink.payloads, many(200), "handled by the two");
    },
  },
  {
    id: "subscribe/two-groups-each-all",
    states:
      "Two groups of a topic each get everything, and a broadcast subscriber beside them too; where there can be one only, a second is refused.",
    requires: all(hasGroups, hasMoreGroups),
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      const sinks = [new Sink(), new Sink(), new Sink()] as const;
      await sinks[0].join(topic, { ...t.way("one") });
      await sinks[1].join(topic, { ...t.way("two") });
      if (hasBroadcast(t.capabilities)) await sinks[2].join(topic, { broadcast: true });
      await publishMany(topic, many(100));
      for (const sink of hasBroadcast(t.capabilities) ? sinks : sinks.slice(0, 2)) {
        await sink.reaches(100);
        eachOnce(sink.payloads, many(100), "one reader's messages");
      }
    },
    async twin(t) {
      if (!hasGroups(t.capabilities)) return;
      const topic = (await t.connect()).topic(t.topic());
      const sink = new Sink();
      await sink.join(topic, t.way("one"));
      await refuses(() => new Sink().join(topic, t.way("two")), "UNSUPPORTED", "a second group");
      await refuses(() => topic.createGroup("two"), "UNSUPPORTED", "createGroup for a second group");
      await topic.publish("x");
      await sink.sees(["x"]);
    },
  },
  {
    id: "subscribe/fifty",
    states: "Fifty subscribers of one topic each see every message once.",
    requires: (c) => !hasGroups(c) || c.delivery.groups >= 50,
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      const sinks = Array.from({ length: 50 }, () => new Sink());
      await Promise.all(sinks.map((sink, n) => sink.join(topic, t.way(`g${n}`))));
      await publishMany(topic, many(20));
      for (const [n, sink] of sinks.entries()) {
        await sink.reaches(20);
        eachOnce(sink.payloads, many(20), `messages of subscriber ${n}`);
      }
    },
  },
  {
    id: "subscribe/broadcast-each",
    states: "Each broadcast subscriber sees every message, from its own connection as well as from a shared one.",
    requires: hasBroadcast,
    async run(t) {
      const name = t.topic();
      const [one, two] = [await t.connect(), await t.connect()];
      const sinks = [new Sink(), new Sink(), new Sink()] as const;
      await sinks[0].join(one.topic(name), { broadcast: true });
      await sinks[1].join(one.topic(name), { broadcast: true });
      await sinks[2].join(two.topic(name), { broadcast: true });
      await publishMany(one.topic(name), many(100));
      for (const sink of sinks) {
        await sink.reaches(100);
        eachOnce(sink.payloads, many(100), "one broadcast subscriber's messages");
      }
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      await refuses(() => new Sink().join(broker.topic(t.topic()), { broadcast: true }), "UNSUPPORTED", "broadcast");
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/broadcast-nothing-left",
    states: "A broadcast subscriber leaves no group behind: the topic lists none of its own.",
    requires: all(hasBroadcast, hasGroups, (c) => c.topics.describe),
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      const sink = new Sink();
      const subscription = await sink.join(topic, { broadcast: true });
      await topic.publish("x");
      await sink.reaches(1);
      await subscription.close();
      const { groups } = await topic.describe();
      if (groups !== undefined) equal(groups, [], "groups after a broadcast subscriber has left");
    },
  },
  ...(["latest", "earliest", "time", "position"] as const).flatMap(fromCases),
  {
    id: "subscribe/durable-group",
    states: "A group keeps what arrived while nobody listened.",
    requires: all(hasGroups, redelivers),
    async run(t) {
      const { broker, subscription, sink, topic, name } = await stage(t);
      await topic.publish("first");
      await sink.sees(["first"]);
      await subscription.close();
      await broker.close();
      const other = await t.connect();
      await publishMany(other.topic(name), many(50));
      const later = new Sink();
      await later.join((await t.connect()).topic(name), t.way());
      await later.reaches(50);
      eachOnce(later.payloads, many(50), "what arrived while nobody listened");
    },
  },
  {
    id: "subscribe/close-one",
    states:
      "When one of many members closes, the others go on, nothing is lost, and nothing is handled twice unless whole entries are settled.",
    requires: hasGroups,
    async run(t) {
      const name = t.topic();
      const sink = new Sink();
      const members = [];
      for (let n = 0; n < 3; n += 1)
        members.push(await sink.join((await t.connect()).topic(name), { ...t.way(), concurrency: 2 }, () => pass(2)));
      const topic = (await t.connect()).topic(name);
      const key = (n: number): string | undefined => (t.capabilities.message.key ? `k${n % 31}` : undefined);
      await publishMany(topic, many(100), key);
      await sink.reaches(20);
      await members[1]?.close();
      await publishMany(topic, many(200).slice(100), key);
      await sink.sees(many(200), t.patience);
      await sink.rests();
      if (t.capabilities.settle.unit !== "entry") eachOnce(sink.payloads, many(200), "handled while one member closed");
    },
  },
  {
    id: "subscribe/continue",
    states: "Subscribing again continues where the acks stopped; the group says that it existed and `from` is not used.",
    requires: redelivers,
    async run(t) {
      const { subscription, sink, topic, name } = await stage(t);
      equal(subscription.startedFrom, "created", "startedFrom of a new group");
      await publishMany(topic, many(10));
      await sink.reaches(10);
      await subscription.close();
      await publishMany(topic, many(10, "later"));
      const again = new Sink();
      const events = t.events(name);
      const from: Start = t.capabilities.from.group.includes("earliest") ? "earliest" : "latest";
      const second = await again.join((await t.connect()).topic(name), { ...t.way(), from });
      equal(second.startedFrom, "existing", "startedFrom of a group that existed");
      await again.reaches(10);
      eachOnce(again.payloads, many(10, "later"), "what the second subscription got");
      check(from === "latest" || events.some((event) => event.type === "from-not-used"), "an event says that `from` was not used");
    },
  },
  {
    id: "subscribe/group-start-durable",
    states:
      "When subscribe resolves, everything whose publish begins later is the group's, even if the member leaves before it received anything.",
    requires: redelivers,
    async run(t) {
      const broker = await t.connect();
      let publisher = broker.topic(t.topic());
      await publisher.publish("before");
      for (let round = 0; round < 5; round += 1) {
        if (round > 0 && !hasMoreGroups(t.capabilities)) publisher = broker.topic(t.topic());
        const { name } = publisher;
        const group = `g${round}`;
        const member = await t.connect();
        const unseen = new Sink();
        const subscription = await unseen.join(member.topic(name), { ...t.way(group), concurrency: 1 }, () => gate().opened);
        const sent = publishMany(publisher, many(20, group));
        await subscription.close({ deadlineMs: 0 });
        await sent;
        const sink = new Sink();
        await sink.join((await t.connect()).topic(name), t.way(group));
        const expected = [...(round === 0 ? inherited(t, ["before"]) : []), ...many(20, group)];
        await sink.sees(expected, t.patience);
        eachOnce(sink.payloads, expected, `everything published after subscribe resolved, round ${round}`);
      }
    },
  },
  {
    id: "subscribe/create-group",
    states: "createGroup makes the start durable without a member; making it again keeps its place.",
    requires: redelivers,
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      await topic.publish("before");
      await topic.createGroup("g");
      await publishMany(topic, many(10));
      await topic.createGroup("g");
      const sink = new Sink();
      const subscription = await sink.join(topic, t.way());
      equal(subscription.startedFrom, "existing", "startedFrom");
      const expected = [...inherited(t, ["before"]), ...many(10)];
      await sink.reaches(expected.length);
      eachOnce(sink.payloads, expected, "published after createGroup");
    },
    async twin(t) {
      if (hasGroups(t.capabilities)) return;
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).createGroup("g"), "UNSUPPORTED", "createGroup");
      equal(wire.of("admin.createGroup").length, 0, "admin.createGroup calls");
    },
  },
  {
    id: "subscribe/provisioned-groups",
    states: "Groups in a topic's definition exist before the first publish through it, and get it.",
    requires: redelivers,
    async run(t) {
      const name = t.topic();
      const definition = defineTopic(name, { schema: anything, groups: ["early"] });
      await (await t.connect()).topic(definition).publish("first");
      const sink = new Sink();
      await sink.join((await t.connect()).topic(name), t.way("early"));
      await sink.sees(["first"]);
    },
  },
  {
    id: "subscribe/group-or-broadcast",
    states: "Neither group nor broadcast, both, undefined or empty is INVALID_ARGUMENT before the wire: nothing is implied.",
    async run(t) {
      const { broker, wire } = await t.record();
      const topic = broker.topic(t.topic());
      const bad: unknown[] = [
        {},
        { group: undefined },
        { group: "" },
        { group: null },
        { group: "g", broadcast: true },
        { broadcast: false },
        { broadcast: "yes" },
        undefined,
      ];
      for (const o of bad)
        await refuses(() => topic.subscribe(o as { broadcast: true }, () => {}), "INVALID_ARGUMENT", `subscribe(${JSON.stringify(o)})`);
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/group-names",
    states: "Group names outside of A–Z a–z 0–9 _ - are refused before the wire.",
    requires: hasGroups,
    async run(t) {
      const { broker, wire } = await t.record();
      for (const group of ["a.b", "a b", "ü", "a/b", "*", "a\n", "g".repeat(101)]) {
        await refuses(() => new Sink().join(broker.topic(t.topic()), { group }), "INVALID_ARGUMENT", `the group ${JSON.stringify(group)}`);
      }
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/unknown-option",
    states: "Options that do not exist or make no sense are refused before the wire.",
    async run(t) {
      const { broker, wire } = await t.record();
      const way = t.way();
      const bad: object[] = [
        { concurency: 2 },
        { concurrency: 0 },
        { concurrency: 1.5 },
        { timeoutMs: -1 },
        { order: "random" },
        { retry: { attempts: 0 } },
        { retry: { atempts: 3 } },
        { from: "yesterday" },
      ];
      for (const o of bad)
        await refuses(
          () => new Sink().join(broker.topic(t.topic()), { ...way, ...o } as SubscribeOptions),
          "INVALID_ARGUMENT",
          `subscribe with ${JSON.stringify(o)}`,
        );
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/broadcast-dead-letter",
    states: "Broadcast keeps no dead letters: asking for it is UNSUPPORTED, not ignored.",
    requires: hasBroadcast,
    async run(t) {
      const { broker, wire } = await t.record();
      await refuses(
        () => new Sink().join(broker.topic(t.topic()), { broadcast: true, deadLetter: "keep" }),
        "UNSUPPORTED",
        "broadcast with dead letters",
      );
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/signal",
    states: "A subscription with an aborted signal is refused; one whose signal aborts later closes.",
    async run(t) {
      const { broker } = await t.record();
      const name = t.topic();
      await rejects(
        new Sink().join(broker.topic(name), { ...t.way(), signal: AbortSignal.abort() }),
        ["ABORTED", "CLOSED"],
        "subscribe with an aborted signal",
      );
      const controller = new AbortController();
      const subscription = await new Sink().join(broker.topic(name), { ...t.way(), signal: controller.signal });
      controller.abort();
      await within(outcome(subscription.closed), 5_000, "subscription.closed after its signal aborted");
      equal(subscription.state.state, "closed", "state");
    },
  },
  {
    id: "subscribe/state",
    states: "A subscription's state says its topic, its group, what it does and how long its oldest handler has run.",
    async run(t) {
      const hold = gate();
      const { subscription, topic, sink, name } = await stage(t, {}, () => hold.opened);
      const group = hasGroups(t.capabilities) ? "g" : undefined;
      equal(
        { ...subscription.state },
        { topic: name, group, state: "running", inFlight: 0, oldestInFlightMs: 0 },
        "state of an idle subscription",
      );
      await topic.publish("x");
      await sink.reaches(1);
      await until(() => subscription.state.oldestInFlightMs >= 30, "oldestInFlightMs to grow");
      equal(subscription.state.inFlight, 1, "inFlight");
      hold.open();
      await until(() => subscription.state.inFlight === 0, "inFlight to fall");
      await subscription.close();
      equal(subscription.state.state, "closed", "state after close");
    },
  },
  {
    id: "subscribe/messages-stream",
    states: "messages() yields in order, a key's next only after its previous one settled; leaving the loop hands back what is unsettled.",
    requires: all(redelivers, hasKeys),
    async run(t) {
      const broker = await t.connect();
      const topic = broker.topic(t.topic());
      const { group } = t.way() as { group: string };
      await topic.createGroup(group);
      await publishMany(topic, ["a1", "a2", "a3"], () => "a");
      const seen: string[] = [];
      let previous: Delivery<unknown> | undefined;
      let settled = true;
      for await (const message of topic.messages({ ...t.way(), group, concurrency: 4 })) {
        check(settled, `${String(message.payload)} was yielded before ${String(previous?.payload)} of the same key had settled`);
        seen.push(String(message.payload));
        previous = message;
        settled = false;
        if (seen.length === 2) break;
        await pass(30);
        settled = true;
        await message.ack();
      }
      const ordered = t.capabilities.keyOrder !== "none";
      if (ordered) equal(seen, ["a1", "a2"], "yielded");
      const left = ["a1", "a2", "a3"].filter((payload) => payload !== seen[0]);
      const sink = new Sink();
      await sink.join(topic, t.way());
      await sink.sees(left, t.patience);
      equal(ordered ? sink.payloads : [...sink.payloads].sort(), left, "handed back when the loop was left");
    },
  },
  {
    id: "subscribe/messages-nack",
    states: "A pulled message can be nacked and comes again.",
    requires: redelivers,
    async run(t) {
      const topic = (await t.connect()).topic(t.topic());
      const { group } = t.way() as { group: string };
      await topic.createGroup(group);
      await topic.publish("x");
      const attempts: number[] = [];
      for await (const message of topic.messages({ ...t.way(), group })) {
        attempts.push(message.attempt);
        if (attempts.length === 2) {
          await message.ack();
          break;
        }
        await message.nack({ delayMs: 0 });
      }
      equal(attempts, [1, 2], "attempts");
    },
  },
  {
    id: "subscribe/batches",
    states:
      "A batch holds at most `max` messages, one key's in order; nothing newer of its keys is delivered until it settles; every message is in one batch.",
    requires: all(hasGroups, hasKeys),
    async run(t) {
      const topic = (await t.connect()).topic(t.topic());
      const batches: { readonly keys: ReadonlySet<string>; readonly payloads: readonly string[]; ended: boolean }[] = [];
      const busy: string[] = [];
      const group = { ...t.way(), group: "g" };
      await topic.subscribeBatches({ ...group, max: 16, waitMs: 50, concurrency: 3 }, async (batch: Batch<unknown>) => {
        const keys = new Set([...batch].map((message) => String(message.key)));
        for (const open of batches) for (const key of keys) if (!open.ended && open.keys.has(key)) busy.push(key);
        const entry = { keys, payloads: batch.payloads.map(String), ended: false };
        batches.push(entry);
        await pass(3);
        entry.ended = true;
      });
      await publishMany(topic, many(400), (n) => `k${n % 10}`);
      const handled = (): string[] => batches.flatMap((batch) => [...batch.payloads]);
      await until(() => handled().length >= 400, "400 messages in batches");
      eachOnce(handled(), many(400), "messages in batches");
      equal(busy, [], "keys that were in two unsettled batches at once");
      check(
        batches.every((batch) => batch.payloads.length <= 16),
        "no batch is larger than max",
      );
      check(
        batches.some((batch) => batch.payloads.length > 1),
        "with 400 waiting, some batch holds more than one message",
      );
      if (t.capabilities.keyOrder === "none") return;
      const byKey = Map.groupBy(handled(), (entry) => Number(entry.slice(2)) % 10);
      for (const entries of byKey.values()) {
        equal(
          entries,
          [...entries].sort((a, b) => Number(a.slice(2)) - Number(b.slice(2))),
          "one key's messages over all batches",
        );
      }
    },
    async twin(t) {
      if (hasGroups(t.capabilities)) return;
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).subscribeBatches({ group: "g", max: 2 }, () => {}), "UNSUPPORTED", "subscribeBatches");
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "subscribe/batch-wait",
    states: "A batch leaves when it is full, or `waitMs` after its first message.",
    requires: hasGroups,
    async run(t) {
      const topic = (await t.connect()).topic(t.topic());
      const batches: { readonly at: number; readonly length: number }[] = [];
      await topic.subscribeBatches({ ...t.way(), group: "g", max: 5, waitMs: 400 }, (batch) => {
        batches.push({ at: now(), length: batch.length });
      });
      const began = now();
      await publishMany(topic, many(2));
      await until(() => batches.length >= 1, "a batch that is not full");
      check((batches[0]?.at ?? 0) - began >= 300, `a batch with waitMs 400 left after ${Math.round((batches[0]?.at ?? 0) - began)} ms`);
      const count = (): number => batches.reduce((sum, batch) => sum + batch.length, 0);
      await publishMany(topic, many(5));
      await until(() => count() >= 7, "the rest");
      equal(count(), 7, "messages in batches");
    },
  },
  {
    id: "subscribe/batch-throw",
    states: "A batch handler that throws has its messages tried one by one (`split`) or together (`whole`), and none is lost.",
    requires: redelivers,
    async run(t) {
      for (const onThrow of ["split", "whole"] as const) {
        const topic = (await t.connect()).topic(t.topic());
        const seen: string[][] = [];
        const retry = { backoffMs: { initial: 10, factor: 1, max: 10 }, jitter: "none" } as const;
        const good: string[] = [];
        let failed = 0;
        await topic.createGroup("g");
        await publishMany(topic, many(4));
        await topic.subscribeBatches({ ...t.way(), group: "g", max: 4, waitMs: 300, onThrow, retry }, (batch) => {
          seen.push(batch.payloads.map(String));
          if (batch.length > 1 && failed++ === 0) throw new Error("the whole batch failed");
          good.push(...batch.payloads.map(String));
        });
        await until(() => good.length >= 4, "all four to be handled");
        eachOnce(good, many(4), `handled after a batch threw, onThrow ${onThrow}`);
        if (failed > 0 && onThrow === "split") {
          check(
            seen.slice(1).every((batch) => batch.length === 1),
            () => `after a split, batches of one; there were ${JSON.stringify(seen)}`,
          );
        }
      }
    },
  },
  {
    id: "subscribe/batches-stream",
    states: "batches() yields batches to pull; batch.ack() settles them for good.",
    requires: redelivers,
    async run(t) {
      const broker = await t.connect();
      const name = t.topic();
      const topic = broker.topic(name);
      await topic.createGroup("g");
      await publishMany(topic, many(20));
      const got: string[] = [];
      for await (const batch of topic.batches({ ...t.way(), group: "g", max: 8 })) {
        got.push(...batch.payloads.map(String));
        await batch.ack();
        if (got.length >= 20) break;
      }
      eachOnce(got, many(20), "messages in pulled batches");
      await topic.publish("end");
      const sink = new Sink();
      await sink.join((await t.connect()).topic(name), t.way());
      await sink.sees(["end"], t.patience);
      equal(sink.payloads, ["end"], "what was left after batch.ack()");
    },
  },
  {
    id: "subscribe/prefix",
    states: "A prefix separates stages: the same topic name under two prefixes is two topics, and applications see the name without it.",
    async run(t) {
      const name = t.topic();
      const [one, two] = [await t.connect({ prefix: "one." }), await t.connect({ prefix: "two." })];
      const sinks = [new Sink(), new Sink()] as const;
      await sinks[0].join(one.topic(name), t.way());
      await sinks[1].join(two.topic(name), t.way());
      await one.topic(name).publish("1");
      await two.topic(name).publish("2");
      await sinks[0].sees(["1"]);
      await sinks[1].sees(["2"]);
      equal([sinks[0].payloads, sinks[1].payloads], [["1"], ["2"]], "payloads under each prefix");
      equal(defined(sinks[0].facts[0], "delivery").delivery.topic, name, "the delivery's topic");
    },
  },
  {
    id: "subscribe/hand-over",
    states: "A group that starts at a replay's end joins without a gap and without a repeat.",
    requires: all(redelivers, replays, (c) => c.from.group.includes("position") && c.cursorEnd),
    async run(t) {
      const broker = await t.connect();
      const topic = open(broker, t.topic());
      await broker.provision([defineTopic(topic.name, { schema: anything })]);
      let published = 0;
      let more = true;
      const load = (async (): Promise<void> => {
        while (more) {
          await topic.publish(`m-${published}`, hasKeys(t.capabilities) ? { key: `k${published % 3}` } : {});
          published += 1;
          // A backend within this process answers without ever letting a timer run.
          if (published % 5 === 0) await pass(1);
        }
      })();
      await until(() => published >= 50, "50 messages");
      await using replay = topic.replay({ from: "earliest" });
      const end = await replay.end;
      const replayed: string[] = [];
      for await (const message of replay) replayed.push(String(message.payload));
      const sink = new Sink();
      await sink.join(topic, { ...t.way(), from: end });
      const target = published + 50;
      await until(() => published >= target, "50 more messages");
      more = false;
      await load;
      await sink.reaches(published - replayed.length);
      eachOnce([...replayed, ...sink.payloads], many(published), "the replay and the group together");
    },
  },
];
