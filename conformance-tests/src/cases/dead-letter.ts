import type { DeadLetter, DeadLetterFilter, DeadLetters, Retry } from "brokerkit";
import { type Driver, driverError, type PublishResult, type WireDelivery } from "brokerkit/driver";
import { between, check, defined, eachOnce, equal, refuses } from "../assert.ts";
import { all, type Case, hasGroups, hasHeaders, hasKeys, hasMoreGroups, keepsDeadLetters, listsDeadLetters, redrives } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { rawPublish, rawRecord } from "../raw.ts";
import { Sink, type SinkHandler } from "../sink.ts";
import { type Stage, type StageOptions, stage } from "../stage.ts";
import { now, pass, took, until, within } from "../wait.ts";

const quick: Retry = { attempts: 1, backoffMs: { initial: 10, factor: 1, max: 10 }, jitter: "none" };
const isBad = (payload: unknown): boolean => String(payload).startsWith("bad");

class Poison extends Error {
  override readonly name = "Poison";
}

/** A stage whose handler fails for payloads that begin with `bad`. */
async function poisoned(
  t: Context,
  retry: Retry = quick,
  o: StageOptions = {},
  handle?: SinkHandler,
): Promise<Stage & { readonly dead: DeadLetters }> {
  const staged = await stage(
    t,
    { ...o, consume: { retry, ...o.consume } as object },
    handle ??
      ((message) => {
        if (isBad(message.payload)) throw new Poison(`can't handle ${String(message.payload)}`);
      }),
  );
  return { ...staged, dead: staged.topic.group("g").deadLetters };
}

async function letters(dead: DeadLetters, filter?: DeadLetterFilter): Promise<readonly DeadLetter[]> {
  const list: DeadLetter[] = [];
  for await (const letter of dead.list(filter)) list.push(letter);
  return list;
}

const count = (dead: DeadLetters, n: number): Promise<void> => until(async () => (await dead.count()) === n, `${n} dead letters`);

/** What a dead topic holds, by the driver alone: its log, or, where nothing is kept without a group, what is in the group made with it. */
async function readDead(driver: Driver, topic: string, logged: boolean): Promise<readonly WireDelivery[]> {
  const signal = AbortSignal.timeout(5_000);
  const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
  if (logged) {
    const cursor = await driver.replay({ topic, from: { kind: "earliest" }, follow: false, events }, signal);
    const { deliveries } = await cursor.receive(10, 1_000, signal);
    await cursor.close();
    return deliveries;
  }
  const subscription = await driver.subscribe({ topic, group: "letters", from: { kind: "latest" }, credit: 10, events }, signal);
  const deliveries = await subscription.receive(10, 1_000, signal);
  await subscription.close();
  return deliveries;
}

const idsOf = (list: readonly DeadLetter[]): readonly string[] => list.map((letter) => letter.id);
const key = (t: Context, name: string): { readonly key?: string } => (hasKeys(t.capabilities) ? { key: name } : {});

export const deadLetter: readonly Case[] = [
  {
    id: "dead-letter/after-n",
    states:
      "A message that always fails runs exactly `attempts` times, with attempt 1 … n, and is then a dead letter; what follows is delivered.",
    requires: listsDeadLetters,
    async run(t) {
      for (const attempts of [1, 3]) {
        const { topic, sink, dead } = await poisoned(t, { ...quick, attempts });
        await topic.publish("bad", key(t, "k"));
        await topic.publish("good", key(t, "k"));
        await sink.sees(["good"]);
        await count(dead, 1);
        equal(
          sink.of("bad").map((fact) => fact.attempt),
          Array.from({ length: attempts }, (_, n) => n + 1),
          `runs with attempts: ${attempts}`,
        );
        equal((await letters(dead))[0]?.attempts, attempts, "attempts in the dead letter");
      }
    },
    async twin(t) {
      // Groups that can't keep dead letters must be told to drop; without groups there is nothing to ask for.
      if (!hasGroups(t.capabilities) || keepsDeadLetters(t.capabilities)) return;
      const { broker, wire } = await t.record();
      await refuses(() => new Sink().join(broker.topic(t.topic()), { group: "g" }), "UNSUPPORTED", "a group with dead letters");
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "dead-letter/contents",
    states:
      "A dead letter holds id, key, headers and raw bytes of the message, and says why, with which error, after how many attempts, when, and where it came from.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead, name, sink } = await poisoned(t, { ...quick, attempts: 2 });
      const before = Date.now();
      const headers = hasHeaders(t.capabilities) ? { headers: { mine: "ü" } } : {};
      const receipt = await topic.publish("bad ünï", { ...key(t, "k"), ...headers });
      await count(dead, 1);
      const letter = defined((await letters(dead))[0], "dead letter");
      equal(
        { id: letter.id, key: letter.key, json: letter.json(), attempts: letter.attempts, error: letter.error && { ...letter.error } },
        {
          id: receipt.id,
          key: hasKeys(t.capabilities) ? "k" : undefined,
          json: "bad ünï",
          attempts: 2,
          error: { name: "Poison", message: "can't handle bad ünï" },
        },
        "contents",
      );
      equal(Buffer.from(letter.bytes).toString(), '"bad ünï"', "bytes");
      if (hasHeaders(t.capabilities)) equal(letter.headers["mine"], "ü", "headers");
      check(letter.reason.length > 0, "there is a reason");
      equal([letter.origin.topic, letter.origin.group], [name, "g"], "origin");
      if (t.capabilities.places.perDelivery) equal(letter.origin.place, sink.facts[0]?.delivery.place, "origin.place");
      between(letter.firstFailedAt.getTime(), before - 1_000, Date.now() + 1_000, "firstFailedAt");
      between(letter.lastFailedAt.getTime(), letter.firstFailedAt.getTime(), Date.now() + 1_000, "lastFailedAt");
    },
  },
  {
    id: "dead-letter/reject",
    states: "reject(reason) makes a dead letter now, whatever the attempts, with that reason.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead, sink } = await poisoned(t, { ...quick, attempts: 5 }, {}, (message) =>
        isBad(message.payload) ? message.reject("negative id") : undefined,
      );
      await topic.publish("bad");
      await count(dead, 1);
      equal([sink.facts.length, (await letters(dead))[0]?.reason], [1, "negative id"], "runs and reason");
    },
  },
  {
    id: "dead-letter/timeout-reason",
    states: "A handler that timed out to the last attempt leaves a dead letter that says so.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead } = await poisoned(
        t,
        quick,
        { consume: { timeoutMs: 100 } },
        (message) => new Promise((resolve) => message.signal.addEventListener("abort", () => resolve())),
      );
      await topic.publish("bad");
      await count(dead, 1);
      const letter = defined((await letters(dead))[0], "dead letter");
      check(
        /time|within/i.test(`${letter.reason} ${letter.error?.name} ${letter.error?.message}`),
        `the dead letter names the time-out: ${letter.reason}, ${letter.error?.message}`,
      );
    },
  },
  {
    id: "dead-letter/ack-after",
    states: "The original is acknowledged only after its dead letter is confirmed.",
    requires: keepsDeadLetters,
    async run(t) {
      const { topic, wire, name, dead } = await poisoned(t, quick, {
        tap: {
          publish: async (records, next) => {
            const results = await next(records);
            if (records.some((record) => record.target.topic.endsWith(".dead"))) await pass(150);
            return results;
          },
        },
      });
      const receipt = await topic.publish("bad");
      const settles = (): ReturnType<typeof wire.of> =>
        wire.of("ack", name).filter((call) => call.deliveries.some((delivery) => delivery.id === receipt.id));
      await until(() => settles().length > 0, "the original's ack");
      const letter = defined(
        wire.of("publish").find((call) => call.records.some((record) => record.target.topic === `${name}.g.dead`)),
        `a publish to ${name}.g.dead`,
      );
      check(
        (letter.ended ?? Number.POSITIVE_INFINITY) <= (settles()[0]?.started ?? 0),
        "the dead letter's publish ended before the original's ack began",
      );
      if (listsDeadLetters(t.capabilities)) await count(dead, 1);
    },
  },
  {
    id: "dead-letter/publish-failing",
    states: "While dead letters can't be stored nothing is lost: the original stays unsettled, and becomes one dead letter when they can.",
    requires: listsDeadLetters,
    async run(t) {
      let failing = true;
      let refused = 0;
      const { topic, wire, name, dead, sink } = await poisoned(t, quick, {
        tap: {
          publish: async (records, next) => {
            if (!failing || !records.some((record) => record.target.topic.endsWith(".dead"))) return await next(records);
            refused += 1;
            // Every second answer is lost although the record was stored: in doubt, so that one letter may be stored twice.
            if (refused % 2 === 0) await next(records);
            return records.map(
              (): PublishResult => ({
                ok: false,
                error: driverError("UNAVAILABLE", "The dead topic is away."),
                sent: refused % 2 === 0 ? "maybe" : "no",
              }),
            );
          },
        },
      });
      const receipt = await topic.publish("bad");
      await until(() => refused >= 3, "three failed tries to store the dead letter", t.patience);
      equal(
        wire.of("ack", name).filter((call) => call.deliveries.some((delivery) => delivery.id === receipt.id)).length,
        0,
        "acks of the original meanwhile",
      );
      failing = false;
      await until(
        () => wire.of("ack", name).some((call) => call.deliveries.some((delivery) => delivery.id === receipt.id)),
        "the original's ack",
        t.patience,
      );
      equal(idsOf(await letters(dead)), [receipt.id], "dead letters, listed once per message");
      equal(await dead.count(), 1, "count()");
      check(sink.facts.length >= 1, "the handler ran");
    },
  },
  {
    id: "dead-letter/publish-failing-close",
    states: "A message whose dead letter could not be stored before the member closed goes to the next member.",
    requires: keepsDeadLetters,
    async run(t) {
      let refused = 0;
      const { topic, broker, name } = await poisoned(t, quick, {
        tap: {
          publish: async (records, next) => {
            if (!records.some((record) => record.target.topic.endsWith(".dead"))) return await next(records);
            refused += 1;
            return records.map(
              (): PublishResult => ({ ok: false, error: driverError("UNAVAILABLE", "The dead topic is away."), sent: "no" }),
            );
          },
        },
      });
      await topic.publish("bad");
      await until(() => refused >= 1, "a failed try to store the dead letter");
      await within(broker.close({ deadlineMs: 100 }), 5_000, "close with deadlineMs 100 while a dead letter can't be stored");
      const sink = new Sink();
      await sink.join((await t.connect()).topic(name), t.way());
      await sink.sees(["bad"], t.patience);
    },
  },
  {
    id: "dead-letter/duplicate-answer",
    states:
      "A dead letter answered with `duplicate: true`, without having been in doubt, is no dead letter: the original stays unsettled until one is stored.",
    requires: listsDeadLetters,
    async run(t) {
      let answers = 0;
      const { topic, wire, name, dead } = await poisoned(t, quick, {
        tap: {
          publish: async (records, next) => {
            if (!records.some((record) => record.target.topic.endsWith(".dead")) || answers++ > 0) return await next(records);
            return records.map((): PublishResult => ({ ok: true, duplicate: true }));
          },
        },
      });
      const receipt = await topic.publish("bad");
      const acks = (): number =>
        wire.of("ack", name).filter((call) => call.deliveries.some((delivery) => delivery.id === receipt.id)).length;
      await until(() => answers >= 1, "the first try to store the dead letter");
      await until(async () => acks() > 0 || (await dead.count()) > 0 || answers > 1, "what comes of the answer", t.patience);
      if (acks() > 0) check((await dead.count()) === 1, "the original was settled, and there is no dead letter");
      await until(async () => (await dead.count()) === 1, "the dead letter", t.patience);
    },
  },
  {
    id: "dead-letter/list-filter",
    states: "list filters by ids, reason, times, a predicate and a limit; what is listed is what is kept, in order of failing.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead } = await poisoned(t, quick, {}, (message) =>
        isBad(message.payload) ? message.reject(String(message.payload) === "bad-3" ? "odd" : "usual") : undefined,
      );
      for (const n of [0, 1, 2]) await topic.publish(`bad-${n}`, { id: `id-${n}` });
      await count(dead, 3);
      await pass(30);
      const middle = new Date();
      await pass(30);
      for (const n of [3, 4]) await topic.publish(`bad-${n}`, { id: `id-${n}` });
      await count(dead, 5);
      const listed = async (filter?: DeadLetterFilter): Promise<readonly string[]> => [...idsOf(await letters(dead, filter))].sort();
      equal(await listed(), ["id-0", "id-1", "id-2", "id-3", "id-4"], "all");
      equal(await listed({ ids: ["id-1", "id-4", "none"] }), ["id-1", "id-4"], "by ids");
      equal(await listed({ reason: "odd" }), ["id-3"], "by reason");
      equal(await listed({ since: middle }), ["id-3", "id-4"], "since");
      equal(await listed({ until: middle }), ["id-0", "id-1", "id-2"], "until");
      equal(await listed({ where: (letter) => letter.json() === "bad-2" }), ["id-2"], "by a predicate");
      equal((await listed({ limit: 2 })).length, 2, "with a limit of 2");
      equal(await listed({ reason: "usual", since: middle }), ["id-4"], "by two filters at once");
    },
  },
  {
    id: "dead-letter/list-harmless",
    states: "Listing changes nothing: the same letters with the same attempts every time, and a broken-off listing too.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead } = await poisoned(t, { ...quick, attempts: 2 });
      await publishMany(topic, many(10, "bad"));
      await count(dead, 10);
      const first = await letters(dead);
      for await (const _ of dead.list()) break;
      const second = await letters(dead);
      equal(
        second.map((letter) => [letter.id, letter.attempts]).sort(),
        first.map((letter) => [letter.id, letter.attempts]).sort(),
        "the second listing",
      );
    },
  },
  {
    id: "dead-letter/per-group",
    states: "Each group has its own dead letters.",
    requires: all(listsDeadLetters, hasMoreGroups),
    async run(t) {
      const { topic, dead } = await poisoned(t);
      const fine = new Sink();
      await fine.join(topic, t.way("fine"));
      await topic.publish("bad");
      await count(dead, 1);
      await fine.sees(["bad"]);
      equal(await topic.group("fine").deadLetters.count(), 0, "dead letters of the group that handled it");
    },
  },
  {
    id: "dead-letter/dry-run",
    states: "redrive with dryRun counts what it would move and moves nothing.",
    requires: redrives,
    async run(t) {
      const { topic, dead, sink } = await poisoned(t);
      await publishMany(topic, many(4, "bad"));
      await count(dead, 4);
      const runs = sink.facts.length;
      equal(
        { ...(await dead.redrive({ dryRun: true, ids: idsOf((await letters(dead)).slice(0, 3)) })) },
        { matched: 3, moved: 0 },
        "result of the dry run",
      );
      await topic.publish("end");
      await sink.sees(["end"]);
      equal([sink.facts.length, await dead.count()], [runs + 1, 4], "handler runs and dead letters afterwards");
    },
  },
  {
    id: "dead-letter/redrive",
    states:
      "redrive sends letters to the group that failed and to no other, with id, key, headers and a fresh count of failures; what was redriven is not listed any more.",
    requires: redrives,
    async run(t) {
      let healed = false;
      const { topic, dead, sink } = await poisoned(t, { ...quick, attempts: 2 }, {}, (message) => {
        if (isBad(message.payload) && !healed) throw new Poison("not yet");
      });
      const other = new Sink();
      if (hasMoreGroups(t.capabilities)) await other.join(topic, t.way("other"));
      const headers = hasHeaders(t.capabilities) ? { headers: { mine: "1" } } : {};
      for (const payload of many(5, "bad")) await topic.publish(payload, { ...key(t, payload), ...headers });
      await count(dead, 5);
      if (hasMoreGroups(t.capabilities)) await other.sees(many(5, "bad"));
      const before = sink.facts.length;
      healed = true;
      equal({ ...(await dead.redrive()) }, { matched: 5, moved: 5 }, "result");
      await until(() => sink.facts.length >= before + 5, "the redriven messages", t.patience);
      const again = sink.facts.slice(before);
      eachOnce(
        again.map((fact) => String(fact.payload)),
        many(5, "bad"),
        "redriven to the group that failed",
      );
      for (const fact of again) {
        equal(fact.id, sink.of(fact.payload)[0]?.id, "the id of a redriven message");
        equal(fact.key, sink.of(fact.payload)[0]?.key, "its key");
        if (hasHeaders(t.capabilities)) equal(fact.delivery.headers["mine"], "1", "its header");
      }
      equal([await dead.count(), (await letters(dead)).length], [0, 0], "dead letters after the redrive");
      if (!hasMoreGroups(t.capabilities)) return;
      await topic.publish("end");
      await other.sees(["end"]);
      eachOnce(other.payloads, [...many(5, "bad"), "end"], "what the other group saw in all");
    },
    async twin(t) {
      if (!hasGroups(t.capabilities)) {
        const { broker, wire } = await t.record();
        await refuses(() => broker.topic(t.topic()).group("g").deadLetters.redrive(), "UNSUPPORTED", "redrive");
        equal(wire.of("publish").length, 0, "driver.publish calls");
      }
    },
  },
  {
    id: "dead-letter/redrive-again",
    states: "A redriven message that fails again is a dead letter again, and can be redriven again at once: no dedupe window swallows it.",
    requires: redrives,
    async run(t) {
      let healed = false;
      const { topic, dead, sink } = await poisoned(t, { ...quick, attempts: 2 }, {}, () => {
        if (!healed) throw new Poison("not yet");
      });
      const receipt = await topic.publish("bad");
      for (let round = 1; round <= 3; round += 1) {
        await until(
          async () => sink.facts.length === 2 * round && (await dead.count()) === 1,
          `dead letter number ${round}, after ${2 * round} runs`,
          t.patience,
        );
        equal(idsOf(await letters(dead)), [receipt.id], "the dead letter");
        if (round === 3) healed = true;
        equal((await dead.redrive()).moved, 1, "moved");
      }
      await sink.reaches(7, t.patience);
      await until(async () => (await dead.count()) === 0, "no dead letter to be left");
    },
  },
  {
    id: "dead-letter/redrive-filter",
    states: "redrive moves what the filter says and nothing else.",
    requires: redrives,
    async run(t) {
      let healed = false;
      const { topic, dead, sink } = await poisoned(t, quick, {}, () => {
        if (!healed) throw new Poison("not yet");
      });
      for (const payload of many(4, "bad")) await topic.publish(payload, { id: payload });
      await count(dead, 4);
      healed = true;
      equal({ ...(await dead.redrive({ ids: ["bad-1", "bad-2"] })) }, { matched: 2, moved: 2 }, "result");
      await sink.reaches(6, t.patience);
      eachOnce(sink.payloads.slice(4), ["bad-1", "bad-2"], "redriven");
      equal([...idsOf(await letters(dead))].sort(), ["bad-0", "bad-3"], "still listed");
    },
  },
  {
    id: "dead-letter/redrive-order",
    states: "Redriven messages of one key keep their order among themselves.",
    requires: (c) => redrives(c) && c.message.key && c.keyOrder !== "none",
    async run(t) {
      let healed = false;
      const { topic, dead, sink } = await poisoned(t, quick, { consume: { concurrency: 8 } }, () => {
        if (!healed) throw new Poison("not yet");
      });
      await publishMany(topic, many(60, "bad"), (n) => `k${n % 3}`);
      await count(dead, 60);
      healed = true;
      equal((await dead.redrive()).moved, 60, "moved");
      await sink.reaches(120, t.patience);
      for (const lane of [0, 1, 2]) {
        const order = sink.facts
          .slice(60)
          .filter((fact) => fact.key === `k${lane}`)
          .map((fact) => Number(String(fact.payload).slice(4)));
        equal(
          order,
          [...order].sort((a, b) => a - b),
          `order of key k${lane} among the redriven`,
        );
        equal(order.length, 20, `redriven messages of key k${lane}`);
      }
    },
  },
  {
    id: "dead-letter/redrive-rate",
    states: "redrive with perSecond keeps to that rate.",
    requires: redrives,
    async run(t) {
      let healed = false;
      const { topic, dead, sink } = await poisoned(t, quick, {}, () => {
        if (!healed) throw new Poison("not yet");
      });
      await publishMany(topic, many(15, "bad"));
      await count(dead, 15);
      healed = true;
      const began = now();
      equal((await dead.redrive({ perSecond: 20 })).moved, 15, "moved");
      took(began, 550, 6_000, "time for 15 at 20 a second");
      await sink.reaches(30, t.patience);
    },
  },
  {
    id: "dead-letter/purge",
    states: "purge forgets what its filter says, and only that.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead } = await poisoned(t);
      for (const payload of many(4, "bad")) await topic.publish(payload, { id: payload });
      await count(dead, 4);
      equal(await dead.purge({ ids: ["bad-0", "bad-3"] }), 2, "purged");
      equal([...idsOf(await letters(dead))].sort(), ["bad-1", "bad-2"], "still listed");
      equal(await dead.purge({}), 2, "purged by an empty filter");
      equal(await dead.count(), 0, "count() afterwards");
    },
  },
  {
    id: "dead-letter/undecodable",
    states: "A body that can't be decoded is a dead letter with its raw bytes, without a handler run.",
    requires: listsDeadLetters,
    async run(t) {
      const { dead, sink, name } = await poisoned(t);
      await rawPublish((await t.driver()).driver, [rawRecord(name, Uint8Array.of(0xff, 0x7b, 0x00), { id: "broken" })]);
      await count(dead, 1);
      const letter = defined((await letters(dead))[0], "dead letter");
      equal([letter.id, [...letter.bytes], sink.facts.length], ["broken", [0xff, 0x7b, 0x00], 0], "id, bytes, handler runs");
      await refuses(() => letter.json(), "DECODE", "json() of bytes that are no JSON");
    },
  },
  {
    id: "dead-letter/drop",
    states: 'deadLetter "drop" keeps nothing: after the last attempt the message is acknowledged and an event says so.',
    requires: hasGroups,
    async run(t) {
      const { topic, sink, name } = await poisoned(t, { ...quick, attempts: 2 }, { consume: { deadLetter: "drop" } });
      const events = t.events(name);
      await topic.publish("bad");
      await topic.publish("good");
      await sink.sees(["good"]);
      await until(() => events.some((event) => event.type === "dropped"), "an event that the message was dropped");
      equal(sink.of("bad").length, 2, "runs");
      if (listsDeadLetters(t.capabilities)) equal(await topic.group("g").deadLetters.count(), 0, "dead letters");
    },
  },
  {
    id: "dead-letter/own-topic",
    states: "Dead letters are messages of the topic `<topic>.<group>.dead`: a reader of the backend finds them there.",
    requires: listsDeadLetters,
    async run(t) {
      const { topic, dead, name } = await poisoned(t);
      const receipt = await topic.publish("bad");
      await count(dead, 1);
      const { driver } = await t.driver();
      const found = await readDead(driver, `${name}.g.dead`, t.capabilities.from.replay.includes("earliest"));
      equal(
        found.map((delivery) => [delivery.id, Buffer.from(delivery.body ?? []).toString()]),
        [[receipt.id, '"bad"']],
        "id and body of what the dead topic holds",
      );
    },
  },
];
