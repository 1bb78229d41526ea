import { comparePositions, defineTopic, type TopicDefinition } from "brokerkit";
import { check, defined, eachOnce, equal, rejects } from "../assert.ts";
import { all, type Case, hasKeys, redelivers } from "../case.ts";
import { many, publishMany } from "../context.ts";
import { Sink } from "../sink.ts";
import { anything, open, stage } from "../stage.ts";
import { gate, now, pass, until, within } from "../wait.ts";
import { inKeyOrder } from "./publish.ts";

const keyed = all(hasKeys, (c) => c.keyOrder !== "none");

/** Watches how many handlers of one key run at once. */
class KeyWatch {
  readonly #running = new Map<string, number>();
  worst = 0;

  async run(key: string | undefined, work: () => Promise<void>): Promise<void> {
    const name = key ?? "";
    const now = (this.#running.get(name) ?? 0) + 1;
    this.#running.set(name, now);
    this.worst = Math.max(this.worst, now);
    await work();
    this.#running.set(name, (this.#running.get(name) ?? 1) - 1);
  }
}

export const order: readonly Case[] = [
  {
    id: "order/keys",
    states: "With 16 handlers and 1,000 keys, each key's messages are handled in publish order and never two at once.",
    requires: keyed,
    async run(t) {
      const watch = new KeyWatch();
      const { topic, sink } = await stage(t, { consume: { concurrency: 16 } }, (message) =>
        watch.run(message.key, () => pass(Number(String(message.payload).slice(2)) % 3)),
      );
      await publishMany(topic, many(5_000), (n) => `k${(n * 7) % 1_000}`);
      await sink.reaches(5_000, 25_000);
      await sink.rests();
      eachOnce(sink.payloads, many(5_000), "handled");
      inKeyOrder(sink, "16 handlers");
      equal(watch.worst, 1, "handlers of one key at once");
      check(sink.peak > 4, `handlers do run side by side: at most ${sink.peak} did`);
    },
  },
  {
    id: "order/members",
    states: "Between the members of a group a key is handled in order, by one member at a time, also while members come and go.",
    requires: all(keyed, redelivers, (c) => c.keyOrder === "members"),
    async run(t) {
      const watch = new KeyWatch();
      const name = t.topic();
      const sink = new Sink();
      const handle = (message: { readonly key: string | undefined }): Promise<void> => watch.run(message.key, () => pass(2));
      const join = async (): ReturnType<typeof sink.join> =>
        await sink.join(open(await t.connect(), name, t.shared), { ...t.way(), concurrency: 8 }, handle);
      const first = await join();
      await join();
      const topic = open(await t.connect(), name, t.shared);
      const sent = publishMany(topic, many(1_500), (n) => `k${n % 40}`);
      await sink.reaches(200);
      await join();
      await sink.reaches(500);
      await first.close();
      await sent;
      await sink.reaches(1_500, t.patience);
      await sink.rests();
      eachOnce(sink.payloads, many(1_500), "handled by all members");
      inKeyOrder(sink, "several members");
      equal(watch.worst, 1, "handlers of one key at once, over all members");
    },
    async twin(t) {
      // A level: what is promised only within a process is refused by `requires`, where a URL can be connected to.
      const url = t.harness.url(t.site);
      if (url === undefined || t.capabilities.keyOrder === "members" || t.capabilities.delivery.group === "none") return;
      await rejects(t.connectUrl(url, ["keyOrder"]), "UNSUPPORTED", "connect with requires: keyOrder");
    },
  },
  {
    id: "order/concurrency",
    states: "`concurrency` handlers run at once, no more; setConcurrency changes that while it runs, up and down.",
    async run(t) {
      let hold = gate();
      const { topic, sink, subscription } = await stage(t, { consume: { concurrency: 3, order: "none" } }, () => hold.opened);
      await publishMany(topic, many(60));
      await until(() => sink.running === 3, "3 handlers at work");
      await sink.listens(80);
      equal([sink.running, sink.peak], [3, 3], "handlers at once, with concurrency 3");
      subscription.setConcurrency(8);
      await until(() => sink.running === 8, "8 handlers at work");
      await sink.listens(80);
      equal([sink.running, sink.peak], [8, 8], "handlers at once, after setConcurrency(8)");
      subscription.setConcurrency(2);
      const before = hold;
      hold = gate();
      before.open();
      await until(() => sink.running <= 2, "no more than 2 handlers");
      await until(() => sink.running === 2, "2 handlers at work");
      await sink.listens(80);
      equal(sink.running, 2, "handlers at once, after setConcurrency(2)");
      hold.open();
      await sink.reaches(60);
      eachOnce(sink.payloads, many(60), "handled");
    },
  },
  {
    id: "order/topic",
    states: 'With order "topic" the whole topic is handled one by one in publish order, whatever the keys and the concurrency.',
    requires: (c) => c.keyOrder !== "none",
    async run(t) {
      const { topic, sink } = await stage(t, { define: { order: "topic" }, consume: { order: "topic", concurrency: 8 } }, (message) =>
        pass(Number(String(message.payload).slice(2)) % 3),
      );
      await publishMany(topic, many(300), (n) => (t.capabilities.message.key ? `k${n % 9}` : undefined));
      await sink.reaches(300);
      await sink.rests();
      equal([sink.payloads.join(), sink.peak], [many(300).join(), 1], "order of handling, and handlers at once");
    },
  },
  {
    id: "order/none",
    states: 'With order "none" messages of one key run at once, as many as the backend hands out, and all are handled.',
    requires: hasKeys,
    async run(t) {
      const hold = gate();
      const { topic, sink, wire } = await stage(t, { consume: { order: "none", concurrency: 6 } }, () => hold.opened);
      await publishMany(topic, many(30), () => "k");
      // A backend may hand out no more of a key while one is unsettled: then what it did hand out is at work, and it had no more to give.
      const idle = (): boolean => {
        const last = wire.of("receive").at(-1);
        return last !== undefined && (last.ended === undefined ? now() - last.started > 2_000 : last.received.length === 0);
      };
      const delivered = (): number => wire.of("receive").reduce((sum, { received }) => sum + received.length, 0);
      await until(
        () => sink.running === 6 || (sink.running > 0 && sink.running === delivered() && idle()),
        "6 handlers of one key, or all that is handed out, at work",
      );
      hold.open();
      await sink.reaches(30);
      eachOnce(sink.payloads, many(30), "handled");
    },
  },
  {
    id: "order/without-key",
    states: "Messages without a key wait for nobody: they run side by side under the default order.",
    async run(t) {
      const hold = gate();
      const { topic, sink } = await stage(t, { consume: { concurrency: 6 } }, () => hold.opened);
      await publishMany(topic, many(30));
      await until(() => sink.running === 6, "6 handlers at work");
      hold.open();
      await sink.reaches(30);
      eachOnce(sink.payloads, many(30), "handled");
    },
  },
  {
    id: "order/slow-key",
    states: "A slow key holds up no other key.",
    requires: keyed,
    async run(t) {
      const hold = gate();
      const { topic, sink } = await stage(t, { consume: { concurrency: 4 } }, (message) =>
        message.payload === "slow-0" ? hold.opened : undefined,
      );
      await publishMany(topic, many(3, "slow"), () => "slow");
      await publishMany(topic, many(300), (n) => `k${n % 30}`);
      await sink.sees(many(300));
      equal(sink.payloads.filter((payload) => payload.startsWith("slow")).length, 1, "messages of the slow key that were begun");
      hold.open();
      await sink.sees(many(3, "slow"));
    },
  },
  {
    id: "order/partitions-shared",
    states:
      "Members share a topic's partitions evenly, each read by one of them; who joins gets its share, and who leaves gives its own back.",
    requires: all(keyed, redelivers, (c) => c.coordination),
    async run(t) {
      const name = t.topic();
      const sink = new Sink();
      const topic = open(await t.connect(), name, t.shared);
      const join = async (): ReturnType<typeof sink.join> =>
        await sink.join(open(await t.connect(), name, t.shared), { ...t.way(), concurrency: 8 });
      const keys = many(64, "k");
      /** Who handles which of the keys now: one message each, published until every member that is there has its share. */
      const owners = async (members: number): Promise<ReadonlyMap<string, string>> => {
        let found = new Map<string, string>();
        for (let round = 0; ; round += 1) {
          const from = sink.facts.length;
          await publishMany(topic, keys, (n) => keys[n] as string);
          await sink.reaches(from + keys.length, t.patience);
          found = new Map(sink.facts.slice(from).map((fact) => [String(fact.key), fact.member]));
          const shares = [...new Set(found.values())].map((member) => [...found.values()].filter((one) => one === member).length);
          if (shares.length === members && Math.min(...shares) >= keys.length / members / 4) return found;
          check(round < 200, `${members} members to have a share each, at last ${shares.join(", ")}`);
          await pass(t.absenceMs / 50);
        }
      };
      const first = await join();
      const alone = await owners(1);
      await join();
      const two = await owners(2);
      check(
        [...alone].filter(([key, member]) => two.get(key) === member).length >= keys.length / 4,
        "the first member keeps a share of its own",
      );
      await first.close();
      await owners(1);
      equal(new Set(sink.payloads).size, keys.length, "payloads handled");
      await sink.rests();
    },
  },
  {
    id: "order/partitions-positions",
    states: "Replay, positions, lag and seek speak of a topic with partitions as of one topic.",
    requires: all(keyed, redelivers, (c) => c.coordination),
    async run(t) {
      const { broker, topic, sink, subscription } = await stage(t, { define: t.shared });
      await publishMany(topic, many(100), (n) => `k${n % 20}`);
      await sink.reaches(100);
      await subscription.flush();
      const group = topic.group("g");
      if (t.capabilities.lag.count === "exact") equal((await group.lag()).messages, 0, "lag of a group that has everything");
      const reads = async (o: Parameters<typeof topic.replay>[0]): Promise<readonly string[]> => {
        const payloads: string[] = [];
        for await (const message of topic.replay(o)) payloads.push(String(message.payload));
        return payloads;
      };
      if (t.capabilities.from.replay.includes("earliest")) {
        const all = await within(reads({ from: "earliest" }), 20_000, "a replay of all partitions to end");
        eachOnce(all, many(100), "replayed");
      }
      if (!t.capabilities.places.perDelivery) return;
      const middle = await group.position();
      await publishMany(topic, many(50, "more"), (n) => `k${n % 20}`);
      await sink.reaches(150);
      await subscription.flush();
      equal(comparePositions(middle, await group.position()), -1, "the position before, and that after");
      if (t.capabilities.from.replay.includes("position")) {
        eachOnce(
          await within(reads({ from: middle }), 20_000, "a replay from a position to end"),
          many(50, "more"),
          "replayed from a position",
        );
      }
      if (t.capabilities.seek === "none") return;
      if (t.capabilities.seek === "idle") await subscription.close();
      await group.seek(middle);
      const again = t.capabilities.seek === "idle" ? new Sink() : sink;
      if (again !== sink) await again.join(broker.topic(topic.name), t.way());
      const from = again === sink ? 150 : 0;
      await again.reaches(from + 50, t.patience);
      eachOnce(again.payloads.slice(from), many(50, "more"), "delivered again after a seek");
    },
  },
  {
    id: "order/partitions-fixed",
    states:
      "The number of a topic's partitions never changes: another definition is told so, a topic that exists without is not converted, and where key order is required a group on it is refused.",
    requires: all(keyed, redelivers, (c) => c.coordination && c.topics.describe),
    async run(t) {
      const [parted, plain] = [t.topic(), t.topic()];
      const define = (name: string, partitions?: number): TopicDefinition => defineTopic(name, { schema: anything, partitions });
      const broker = await t.connect();
      equal(
        (await broker.provision([define(parted, 3)])).map(({ action }) => action),
        ["create"],
        "provisioning",
      );
      equal(
        (await broker.provision([define(parted, 3), define(parted, 5)])).map(({ action }) => action),
        ["none", "differs"],
        "provisioning again",
      );
      equal((await broker.topic(define(parted, 5)).describe()).partitions, 3, "partitions");
      await broker.topic(plain).publish("x");
      equal(
        (await broker.provision([define(plain, 3)])).map(({ action }) => action),
        ["differs"],
        "provisioning a topic that exists without",
      );
      equal((await broker.topic(plain).describe()).partitions, undefined, "its partitions");
      const strict = await t.connect({ requires: ["keyOrder"] });
      await rejects(
        strict.topic(plain).subscribe({ group: "g" }, () => {}),
        "UNSUPPORTED",
        "a group on a topic without partitions",
      );
      const sink = new Sink();
      const subscription = await sink.join(strict.topic(parted), t.way());
      await broker.topic(parted).publish("y", { key: "k" });
      await sink.sees(["y"]);
      await subscription.close();
      await broker.topic(parted).delete();
      equal(
        (await broker.provision([define(parted, 2)])).map(({ action }) => action),
        ["create"],
        "provisioning after the topic was deleted",
      );
      equal((await broker.topic(parted).describe()).partitions, 2, "partitions of the new topic");
    },
  },
  {
    id: "order/partitions",
    states: "A topic with partitions keeps the order of every key, and its messages spread.",
    requires: all(keyed, (c) => c.topics.partitions > 1),
    async run(t) {
      const broker = await t.connect();
      const name = t.topic();
      const sink = new Sink();
      const topic = open(broker, name, { partitions: 4 });
      await sink.join(topic, { ...t.way(), concurrency: 16 });
      await publishMany(topic, many(800), (n) => `k${n % 40}`);
      await sink.reaches(800);
      eachOnce(sink.payloads, many(800), "handled");
      inKeyOrder(sink, "4 partitions");
      if (t.capabilities.topics.describe) equal((await topic.describe()).partitions, 4, "described partitions");
      if (!t.capabilities.places.perDelivery) return;
      const shards = new Set(sink.facts.map((fact) => String(defined(fact.delivery.place, "place")).split(":")[0]));
      check(shards.size > 1, "40 keys spread over more than one shard");
    },
  },
];
