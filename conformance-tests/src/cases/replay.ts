import { comparePositions, defineTopic, type Message, type Position, parsePosition, type Replay, type Start } from "brokerkit";
import { check, defined, eachOnce, equal, isError, outcome, refuses, rejects } from "../assert.ts";
import { all, type Case, type Claim, hasGroups, hasKeys, redelivers, replays, seeks } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { type AnyTopic, Sink } from "../sink.ts";
import { anything, stage } from "../stage.ts";
import { gate, now, pass, until, within } from "../wait.ts";

type From = Exclude<Start, "latest">;

const hasEarliest: Claim = (c) => c.from.replay.includes("earliest");
const hasPosition: Claim = (c) => c.from.replay.includes("position");
const hasTime: Claim = (c) => c.from.replay.includes("time");

/** One key for all: messages without one may be on different shards, whose order among each other nobody promises. */
const oneKey = (t: Context): (() => string) | undefined => (hasKeys(t.capabilities) ? (): string => "k" : undefined);

/** A topic that exists and holds `payloads`, published one after the other by one producer. */
async function filled(t: Context, payloads: readonly string[], key?: (n: number) => string): Promise<AnyTopic> {
  const broker = await t.connect();
  const name = t.topic("replay");
  await broker.provision([defineTopic(name, { schema: anything })]);
  const topic = broker.topic(name);
  await publishMany(topic, payloads, hasKeys(t.capabilities) ? (key ?? oneKey(t)) : undefined);
  return topic;
}

async function read(replay: Replay<unknown>, limit = Number.POSITIVE_INFINITY): Promise<readonly Message<unknown>[]> {
  const messages: Message<unknown>[] = [];
  for await (const message of replay) {
    messages.push(message);
    if (messages.length >= limit) break;
  }
  return messages;
}

const payloadsOf = (messages: readonly Message<unknown>[]): readonly string[] => messages.map((message) => String(message.payload));

async function replayed(topic: AnyTopic, o: { from: From; to?: Start | undefined; key?: string | undefined }): Promise<readonly string[]> {
  return payloadsOf(await within(read(topic.replay(o)), 15_000, "a bounded replay to end"));
}

async function moment(): Promise<Date> {
  await pass(40);
  const at = new Date();
  await pass(40);
  return at;
}

async function unsupported(t: Context, from: From): Promise<void> {
  const { broker, wire } = await t.record();
  await refuses(
    () => read(broker.topic(t.topic()).replay({ from })),
    from instanceof Date || from === "earliest" ? "UNSUPPORTED" : ["UNSUPPORTED", "INVALID_ARGUMENT"],
    "replay",
  );
  equal(wire.of("replay").length, 0, "driver.replay calls");
}

const RETENTION_MS = 1_500;

export const replay: readonly Case[] = [
  {
    id: "replay/earliest",
    states: "A replay from the earliest yields everything that was published, in order, and ends.",
    requires: hasEarliest,
    async run(t) {
      const topic = await filled(t, many(500));
      equal(await replayed(topic, { from: "earliest" }), many(500), "replayed");
      equal(await replayed(topic, { from: "earliest" }), many(500), "replayed a second time");
    },
    twin: (t) => unsupported(t, "earliest"),
  },
  {
    id: "replay/whole-message",
    states: "A replayed message is whole: id, key, headers, time, place and payload as published, `replayed: true`, and no ack.",
    requires: hasEarliest,
    async run(t) {
      const { topic, sink } = await stage(t);
      const headers = t.capabilities.message.headers ? { headers: { mine: "1" } } : {};
      const receipt = await topic.publish({ a: 1 }, { ...headers, ...(hasKeys(t.capabilities) ? { key: "k" } : {}) });
      await sink.reaches(1);
      const live = defined(sink.facts[0], "delivery").delivery;
      const message = defined((await read(topic.replay({ from: "earliest" })))[0], "replayed message");
      const facts = (m: Message<unknown>): unknown => [
        m.id,
        m.key,
        m.payload,
        { ...m.headers },
        m.publishedAt.getTime(),
        // Queues beside a log have no places, the log has.
        t.capabilities.places.perDelivery ? m.place : undefined,
        m.topic,
        m.tombstone,
      ];
      equal(facts(message), facts(live), "the replayed message, compared with the live one");
      equal(
        [message.id, message.replayed, live.replayed, "ack" in message],
        [receipt.id, true, false, false],
        "id, replayed, live.replayed, has an ack",
      );
    },
  },
  {
    id: "replay/time",
    states: "A replay from a time yields exactly what was published from then on.",
    requires: hasTime,
    async run(t) {
      const topic = await filled(t, many(20, "before"));
      const from = await moment();
      await publishMany(topic, many(20, "after"), oneKey(t));
      equal(await replayed(topic, { from }), many(20, "after"), "replayed from a time");
      equal(await replayed(topic, { from: new Date(0) }), [...many(20, "before"), ...many(20, "after")], "replayed from long ago");
      equal(await replayed(topic, { from: await moment() }), [], "replayed from after the last message");
    },
    twin: (t) => unsupported(t, new Date(0)),
  },
  {
    id: "replay/position",
    states: "Resuming from a saved position yields what came after it: no gap, no repeat, also over text.",
    requires: all(hasEarliest, hasPosition),
    async run(t) {
      const topic = await filled(t, many(100));
      for (const stop of [1, 37, 100]) {
        const first = topic.replay({ from: "earliest" });
        let seen = 0;
        let saved: Position | undefined;
        for await (const _ of first) {
          seen += 1;
          if (seen < stop) continue;
          // Covers everything yielded before the current message: the current one comes again.
          saved = first.position();
          break;
        }
        const from = parsePosition(String(defined(saved, "position")));
        equal(await replayed(topic, { from }), many(100).slice(stop - 1), `replayed from the position taken at message ${stop}`);
      }
    },
    twin: (t) => unsupported(t, "eyJ9" as Position),
  },
  {
    id: "replay/bounded",
    states: "The end is fixed when the replay opens: what is published later is not part of it.",
    requires: all(hasEarliest, (c) => c.cursorEnd),
    async run(t) {
      const topic = await filled(t, many(50));
      const bounded = topic.replay({ from: "earliest" });
      await bounded.end;
      await publishMany(topic, many(50, "late"), oneKey(t));
      equal(payloadsOf(await within(read(bounded), 10_000, "the replay to end")), many(50), "replayed");
    },
  },
  {
    id: "replay/follow",
    states: "A following replay yields what was there, says when it has caught up, and goes on with what is published then.",
    requires: hasEarliest,
    async run(t) {
      const topic = await filled(t, many(50));
      const following = topic.replay({ from: "earliest", follow: true });
      const seen: string[] = [];
      let caughtUpAt = -1;
      void following.caughtUp.then(() => {
        caughtUpAt = seen.length;
      });
      const reading = (async (): Promise<void> => {
        for await (const message of following) seen.push(String(message.payload));
      })();
      await until(() => seen.length >= 50 && caughtUpAt >= 0, "the replay to catch up");
      equal(caughtUpAt, 50, "messages yielded when it had caught up");
      await publishMany(topic, many(30, "live"), oneKey(t));
      await until(() => seen.length >= 80, "live messages");
      equal(seen, [...many(50), ...many(30, "live")], "replayed and live, in order");
      await within(following.close(), 5_000, "close of a following replay");
      await within(reading, 5_000, "the loop to end after close");
    },
  },
  {
    id: "replay/live-group",
    states: "A replay beside a live group moves it by nothing: the group gets each message once, and its position and lag stay its own.",
    requires: all(hasEarliest, redelivers),
    async run(t) {
      const { topic, sink, subscription, name } = await stage(t, { consume: { concurrency: 4 } });
      const key = hasKeys(t.capabilities) ? (n: number): string => `k${n % 5}` : undefined;
      await publishMany(topic, many(200), key);
      const during = publishMany(topic, many(200, "more"), key);
      const first = await replayed(topic, { from: "earliest" });
      await during;
      await sink.reaches(400);
      await subscription.flush();
      check(first.length >= 200, `the replay yields at least what was published before it: ${first.length}`);
      eachOnce(await replayed(topic, { from: "earliest" }), [...many(200), ...many(200, "more")], "a second replay");
      eachOnce(sink.payloads, [...many(200), ...many(200, "more")], "what the group handled");
      const later = new Sink();
      await subscription.close();
      await later.join((await t.connect()).topic(name), t.way());
      await topic.publish("end");
      await later.sees(["end"]);
      equal(later.payloads, ["end"], "what was left for the group after the replays");
    },
  },
  {
    id: "replay/key",
    states: "A replay of one key yields that key's messages, all of them and no other.",
    requires: all(hasEarliest, hasKeys),
    async run(t) {
      const topic = await filled(t, many(120), (n) => `k${n % 4}`);
      equal(
        await replayed(topic, { from: "earliest", key: "k2" }),
        many(120).filter((_, n) => n % 4 === 2),
        "replayed with key k2",
      );
      equal(await replayed(topic, { from: "earliest", key: "none" }), [], "replayed with a key that nobody used");
    },
  },
  {
    id: "replay/empty",
    states: "A replay of an empty topic ends at once, with an end to start from.",
    requires: hasEarliest,
    async run(t) {
      const topic = await filled(t, []);
      const empty = topic.replay({ from: "earliest" });
      equal(payloadsOf(await within(read(empty), 6_000, "a replay of an empty topic to end")), [], "replayed");
      const end = await within(empty.end, 1_000, "end");
      await within(empty.caughtUp, 1_000, "caughtUp");
      if (!hasPosition(t.capabilities)) return;
      await topic.publish("first");
      equal(await replayed(topic, { from: end }), ["first"], "replayed from the end of the empty topic");
    },
  },
  {
    id: "replay/past-end",
    states: "A replay from the end yields nothing and ends; following, it yields what comes.",
    requires: all(hasEarliest, hasPosition),
    async run(t) {
      const topic = await filled(t, many(10));
      const end = await topic.replay({ from: "earliest" }).end;
      equal(await replayed(topic, { from: end }), [], "replayed from the end");
      const following = topic.replay({ from: end, follow: true });
      const reading = read(following, 1);
      await within(following.caughtUp, 6_000, "caughtUp");
      await topic.publish("next");
      equal(payloadsOf(await within(reading, 10_000, "the next message")), ["next"], "followed from the end");
    },
  },
  {
    id: "replay/to",
    states: "A replay ends before `to`: a time or a position.",
    requires: all(hasEarliest, hasPosition, hasTime, (c) => c.cursorEnd),
    async run(t) {
      const topic = await filled(t, many(30));
      const middle = await topic.replay({ from: "earliest" }).end;
      const at = await moment();
      await publishMany(topic, many(30, "more"), oneKey(t));
      equal(await replayed(topic, { from: "earliest", to: middle }), many(30), "replayed up to a position");
      equal(await replayed(topic, { from: "earliest", to: at }), many(30), "replayed up to a time");
      equal(await replayed(topic, { from: middle, to: middle }), [], "replayed from a position to itself");
    },
  },
  {
    id: "replay/break",
    states: "Leaving the loop of a replay closes it, and nothing of it stays open.",
    requires: hasEarliest,
    async run(t) {
      const { broker, wire } = await t.record();
      const name = t.topic();
      const topic = broker.topic(name);
      await broker.provision([defineTopic(name, { schema: anything })]);
      await publishMany(topic, many(100));
      for await (const _ of topic.replay({ from: "earliest", follow: true })) break;
      await until(() => wire.of("close-cursor", name).length === wire.of("replay", name).length, "the cursor to be closed");
      const failing = (async (): Promise<void> => {
        for await (const _ of topic.replay({ from: "earliest" })) throw new Error("in the loop");
      })();
      equal((await outcome(failing)).ok, false, "a loop that throws");
      await until(() => wire.of("close-cursor", name).length === wire.of("replay", name).length, "the second cursor to be closed");
    },
  },
  {
    id: "replay/foreign-position",
    states: "A position of another topic, of another adapter, or text that is none, is refused before the wire.",
    requires: all(hasEarliest, hasPosition),
    async run(t) {
      const { broker, wire } = await t.record();
      const topic = await filled(t, many(3));
      const own = await topic.replay({ from: "earliest" }).end;
      const other = broker.topic(t.topic());
      const foreign = Buffer.from(JSON.stringify([1, "another-adapter", topic.name, "0:1"])).toString("base64url") as Position;
      for (const [what, at, from] of [
        ["of another topic", other, own],
        ["of another adapter", broker.topic(topic.name), foreign],
        ["that is none", broker.topic(topic.name), "not a position" as Position],
      ] as const) {
        await refuses(() => read(at.replay({ from })), "INVALID_ARGUMENT", `a replay from a position ${what}`);
        if (hasGroups(t.capabilities))
          await refuses(
            () => at.subscribe({ ...t.way(), group: "g", from }, () => {}),
            ["INVALID_ARGUMENT", "UNSUPPORTED"],
            `a group from a position ${what}`,
          );
      }
      equal(wire.of("replay").length + wire.of("subscribe").length, 0, "driver.replay and driver.subscribe calls");
    },
  },
  {
    id: "replay/positions-compare",
    states: "Positions compare as cuts: earlier, same, later, and undefined across topics.",
    requires: all(hasEarliest, hasPosition, (c) => c.cursorEnd),
    async run(t) {
      const topic = await filled(t, many(5));
      const one = await topic.replay({ from: "earliest" }).end;
      const same = await topic.replay({ from: "earliest" }).end;
      await topic.publish("more");
      const two = await topic.replay({ from: "earliest" }).end;
      const elsewhere = await (await filled(t, many(1))).replay({ from: "earliest" }).end;
      equal(
        [comparePositions(one, two), comparePositions(two, one), comparePositions(one, same), comparePositions(one, elsewhere)],
        [-1, 1, 0, undefined],
        "comparisons",
      );
    },
  },
  {
    id: "replay/data-loss",
    states: "Where retention has passed a reader's start, it is DATA_LOSS with the places, never a silent jump.",
    requires: all(hasEarliest, hasPosition),
    needs: ["expire"],
    async run(t) {
      const expire = defined(t.provoke.expire, "harness.provoke.expire");
      const topic = await filled(t, many(20));
      const first = topic.replay({ from: "earliest" });
      let saved: Position | undefined;
      for await (const message of first) {
        if (message.payload !== "m-3") continue;
        saved = first.position();
        break;
      }
      await expire(t.site, topic.name, 5);
      const verdict = await within(
        outcome(read(topic.replay({ from: defined(saved, "position") }))),
        10_000,
        "a replay from before retention",
      );
      check(!verdict.ok, "a replay from a position that retention has passed rejects");
      isError(verdict.error, ["DATA_LOSS"], "a replay from a position that retention has passed");
      equal(await replayed(topic, { from: "earliest" }), many(20).slice(15), "a replay from the earliest that is left");
    },
  },
  {
    id: "replay/expired-to-nothing",
    states: "A replay of a topic whose messages have all expired ends: the fetch position counts, not the last message.",
    requires: hasEarliest,
    needs: ["expire"],
    async run(t) {
      const topic = await filled(t, many(10));
      await defined(t.provoke.expire, "harness.provoke.expire")(t.site, topic.name, 0);
      equal(await replayed(topic, { from: "earliest" }), [], "replayed");
    },
  },
  {
    id: "replay/group-data-loss",
    states:
      "A group whose unread messages have expired fails with DATA_LOSS, or skips and reports, as onDataLoss says; what is left is delivered.",
    // A group that reads a log; retention of a log beside queues takes nothing of theirs.
    requires: all(redelivers, hasEarliest, (c) => c.from.group.includes("earliest")),
    needs: ["expire"],
    lacks: ({ provoke }) => provoke?.unreadStays,
    async run(t) {
      for (const onDataLoss of ["fail", "skip"] as const) {
        const { broker, subscription, topic, sink, name } = await stage(t);
        await publishMany(topic, ["seen"], oneKey(t));
        await sink.reaches(1);
        await subscription.close();
        await publishMany(topic, many(20), oneKey(t));
        await broker.close();
        await defined(t.provoke.expire, "harness.provoke.expire")(t.site, name, 5);
        const again = new Sink();
        const events = t.events(name);
        const joining = again.join((await t.connect()).topic(name), { ...t.way(), onDataLoss });
        if (onDataLoss === "fail") {
          // Some backends know it when the member joins, others when it reads.
          const verdict = await within(outcome(joining.then((second) => second.closed)), t.patience, "subscribe or closed, after a loss");
          check(!verdict.ok, "a group that lost messages fails");
          isError(verdict.error, ["DATA_LOSS"], "a group that lost messages");
          continue;
        }
        await joining;
        await again.sees(many(20).slice(15), t.patience);
        eachOnce(again.payloads, many(20).slice(15), "what is left");
        check(
          events.some((event) => event.type === "data-loss"),
          "an event reports the loss",
        );
      }
    },
  },
  {
    id: "replay/compacted",
    states: "A replay of a compacted topic yields at least the newest message of each key and ends, though records and its tail are gone.",
    requires: all(hasEarliest, hasKeys, (c) => c.retention.compact && c.message.tombstone),
    async run(t) {
      const broker = await t.connect();
      const definition = defineTopic(t.topic("compacted"), { schema: anything, retention: { compact: true } });
      await broker.provision([definition]);
      const topic = broker.topic(definition);
      for (let round = 0; round < 5; round += 1) for (const key of ["a", "b", "c"]) await topic.publish(`${key}-${round}`, { key });
      await topic.publish(null, { key: "c" });
      const seen = await within(read(topic.replay({ from: "earliest" })), 15_000, "a replay of a compacted topic to end");
      for (const key of ["a", "b"])
        equal(seen.filter((message) => message.key === key).at(-1)?.payload, `${key}-4`, `the newest of key ${key}`);
      const last = seen.filter((message) => message.key === "c").at(-1);
      check(last === undefined || last.tombstone, "the newest of key c is its tombstone, or gone");
    },
  },
  {
    id: "replay/retention",
    states: "Retention by time that a topic was created with takes what is older, and nothing younger.",
    requires: all(hasEarliest, (c) => c.retention.ms),
    lacks: ({ provoke }) => provoke?.slowRetention,
    async run(t) {
      const broker = await t.connect();
      const definition = defineTopic(t.topic("retention"), { schema: anything, retention: { ms: RETENTION_MS } });
      await broker.provision([definition]);
      const topic = broker.topic(definition);
      /** What is there, once retention takes nothing from a replay that has begun: of that it is told, as it must be. */
      const held = async (): Promise<readonly string[]> => {
        const verdict = await outcome(replayed(topic, { from: "earliest" }));
        if (verdict.ok) return verdict.value;
        isError(verdict.error, ["DATA_LOSS"], "a replay under way when retention passed");
        return await held();
      };
      const began = now();
      await publishMany(topic, many(20, "old"), oneKey(t));
      const young = await held();
      // Where that took longer they are young no more.
      if (now() - began < RETENTION_MS) equal(young, many(20, "old"), "replayed while young");
      await pass(RETENTION_MS + 300);
      await publishMany(topic, ["new"], oneKey(t));
      const left = await held();
      equal(left.at(-1), "new", "the newest is kept");
      // Trimming may be coarse; reading behind it must not bring back what is gone.
      let count = left.length;
      await until(
        async () => {
          await publishMany(topic, ["new"], oneKey(t));
          count = (await held()).filter((payload) => payload.startsWith("old")).length;
          return count === 0;
        },
        () => `old messages to be taken; ${count} are left`,
        10_000,
      );
    },
  },
  {
    id: "replay/signal",
    states: "A replay's signal ends it.",
    requires: hasEarliest,
    async run(t) {
      const topic = await filled(t, many(5));
      const controller = new AbortController();
      const following = topic.replay({ from: "earliest", follow: true, signal: controller.signal });
      let seen = 0;
      const reading = outcome(
        (async (): Promise<void> => {
          for await (const _ of following) seen += 1;
        })(),
      );
      await until(() => seen === 5, "what is there");
      controller.abort();
      await within(reading, 5_000, "the loop to end after its signal aborted");
    },
  },
  {
    id: "replay/slow-reader",
    states: "A replay pulls: a reader that stops to think is not sent everything, and misses nothing.",
    requires: hasEarliest,
    async run(t) {
      const topic = await filled(t, many(3_000));
      const slow = topic.replay({ from: "earliest" });
      const seen: string[] = [];
      for await (const message of slow) {
        seen.push(String(message.payload));
        if (seen.length % 500 === 0) await pass(20);
      }
      equal(seen.join(), many(3_000).join(), "replayed by a slow reader");
    },
  },
  {
    id: "seek/back",
    states: "Seeking a live group back delivers again from there, under running members.",
    requires: all(redelivers, seeks, (c) => c.seek === "live", hasPosition),
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      await publishMany(topic, many(10));
      await sink.reaches(10);
      await subscription.flush();
      const middle = await topic.group("g").position();
      await publishMany(topic, many(10, "more"));
      await sink.reaches(20);
      await subscription.flush();
      await topic.group("g").seek(middle);
      await sink.reaches(30, t.patience);
      eachOnce(sink.payloads.slice(20), many(10, "more"), "delivered again after seeking back to a position");
      await topic.group("g").seek("earliest");
      await sink.reaches(50, t.patience);
      eachOnce(sink.payloads.slice(30), [...many(10), ...many(10, "more")], "delivered again after seeking to the earliest");
    },
    async twin(t) {
      if (!hasGroups(t.capabilities) || t.capabilities.seek !== "none") return;
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).group("g").seek("earliest"), "UNSUPPORTED", "seek");
      equal(wire.of("admin.seek").length, 0, "admin.seek calls");
    },
  },
  {
    id: "seek/forward",
    states: "Seeking a live group to the latest drops what it has not handled, and what comes after is delivered.",
    requires: all(redelivers, seeks, (c) => c.seek === "live"),
    async run(t) {
      const hold = gate();
      const { topic, sink, subscription } = await stage(t, {}, (message) => (message.payload === "m-0" ? hold.opened : undefined));
      await publishMany(topic, many(50));
      await sink.reaches(1);
      await topic.group("g").seek("latest");
      hold.open();
      await topic.publish("after");
      await sink.sees(["after"], t.patience);
      equal(sink.payloads, ["m-0", "after"], "handled");
      await subscription.flush();
    },
  },
  {
    id: "seek/idle",
    states: "Where a group moves only while idle, seek under a member rejects GROUP_ACTIVE with the members; without members it moves.",
    requires: all(redelivers, seeks, (c) => c.seek === "idle"),
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      await publishMany(topic, many(10));
      await sink.reaches(10);
      const error = await rejects(topic.group("g").seek("earliest"), "GROUP_ACTIVE", "seek under a running member");
      check(error.details.members.length > 0, "details.members names who keeps the group active");
      await subscription.close();
      await topic.group("g").seek("earliest");
      const again = new Sink();
      await again.join(topic, t.way());
      await again.reaches(10, t.patience);
      eachOnce(again.payloads, many(10), "delivered again");
    },
  },
  {
    id: "seek/time",
    states: "Seeking to a time delivers again what was published from then on.",
    requires: all(redelivers, (c) => c.seek === "live", hasTime),
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      await publishMany(topic, many(10));
      const at = await moment();
      await publishMany(topic, many(10, "more"));
      await sink.reaches(20);
      await subscription.flush();
      await topic.group("g").seek(at);
      await sink.reaches(30, t.patience);
      eachOnce(sink.payloads.slice(20), many(10, "more"), "delivered again");
    },
  },
  {
    id: "seek/unknown-group",
    states: "Moving, or asking about, a group that does not exist is NOT_FOUND.",
    requires: all(redelivers, seeks),
    async run(t) {
      const { topic } = await stage(t);
      await rejects(topic.group("nobody").seek("earliest"), "NOT_FOUND", "seek of an unknown group");
      await rejects(topic.group("nobody").position(), "NOT_FOUND", "position of an unknown group");
    },
  },
  {
    id: "seek/position",
    states: "A group's position covers exactly what it has acknowledged: a replay from there yields the rest.",
    requires: all(redelivers, replays, hasPosition, seeks),
    async run(t) {
      const { topic, sink, subscription } = await stage(t);
      await publishMany(topic, many(10));
      await sink.reaches(10);
      await subscription.close();
      await publishMany(topic, many(5, "rest"));
      equal(await replayed(topic, { from: await topic.group("g").position() }), many(5, "rest"), "replayed from the group's position");
    },
  },
];
