import { type BrokerError, isBrokerError, type Receipt } from "brokerkit";
import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import { between, check, defined, eachOnce, equal, isError, outcome, refuses, rejects } from "../assert.ts";
import { all, type Case, hasHeaders, hasKeys } from "../case.ts";
import { many, publishMany } from "../context.ts";
import { rawPublish, rawRecord } from "../raw.ts";
import type { WireCall } from "../recording.ts";
import { Sink } from "../sink.ts";
import { open, schema, stage } from "../stage.ts";
import { gate, now, pass, took, until, within } from "../wait.ts";

const ordered = all(hasKeys, (c) => c.keyOrder !== "none");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString("latin1");
const cut = (): unknown => driverError("UNAVAILABLE", "The link was cut for the test.");
/** `id dedupeId` of each act of publishing, once. */
const actsOf = (calls: readonly WireCall[]): readonly string[] => [
  ...new Set(calls.flatMap((call) => call.records.map((record) => `${record.id} ${record.dedupeId}`))),
];
const keysOf = (call: WireCall): readonly string[] =>
  call.records.flatMap((record) => (record.key === undefined ? [] : [`${record.target.topic}/${text(record.key)}`]));

export const publish: readonly Case[] = [
  {
    id: "publish/receipt",
    states:
      "A publish resolves to a receipt with the message's id, its place where places exist, and `duplicate: false`; the message carries that id.",
    async run(t) {
      const { topic, sink } = await stage(t);
      const receipt = await topic.publish("hello");
      check(receipt.id.length > 0, "the receipt has an id");
      equal(receipt.duplicate, false, "receipt.duplicate");
      if (t.capabilities.places.perDelivery) defined(receipt.place, "receipt.place, since places.perDelivery is declared");
      await sink.reaches(1);
      equal(
        sink.facts.map((fact) => [fact.id, fact.payload, fact.attempt]),
        [[receipt.id, "hello", 1]],
        "what was delivered",
      );
      if (t.capabilities.places.perDelivery) equal(sink.facts[0]?.delivery.place, receipt.place, "the delivery's place");
    },
  },
  {
    id: "publish/own-id",
    states: "An id given by the application is the message's id.",
    async run(t) {
      const { topic, sink } = await stage(t);
      const receipt = await topic.publish("x", { id: "order-4711" });
      await sink.reaches(1);
      equal([receipt.id, sink.facts[0]?.id], ["order-4711", "order-4711"], "id of receipt and delivery");
    },
  },
  {
    id: "publish/published-at",
    states: "`publishedAt` is the time of the publish, as a Date.",
    async run(t) {
      const { topic, sink } = await stage(t);
      const before = Date.now();
      await topic.publish("x");
      const after = Date.now();
      await sink.reaches(1);
      const at = sink.facts[0]?.delivery.publishedAt;
      check(at instanceof Date, "publishedAt is a Date");
      // A server's clock may differ a little from ours; a minute would be another meaning.
      between(at.getTime(), before - 2_000, after + 2_000, "publishedAt");
    },
  },
  {
    id: "publish/batch",
    states: "publishAll answers index-aligned receipts, and every record is stored once, one key's in array order.",
    async run(t) {
      const { topic, sink } = await stage(t);
      const payloads = many(500);
      const receipts = await topic.publishAll(
        payloads.map((payload, n) => ({ payload, id: `id-${n}`, key: t.capabilities.message.key ? `k${n % 7}` : undefined })),
      );
      equal(
        receipts.map((receipt) => receipt.id),
        payloads.map((_, n) => `id-${n}`),
        "ids of the receipts, in order",
      );
      await sink.reaches(payloads.length);
      eachOnce(sink.payloads, payloads, "published as a batch");
      if (ordered(t.capabilities)) inKeyOrder(sink, "batch");
    },
  },
  {
    id: "publish/batch-empty",
    states: "publishAll of nothing resolves to nothing and sends nothing.",
    async run(t) {
      const { broker, wire } = await t.record();
      equal(await broker.topic(t.topic()).publishAll([]), [], "receipts");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "publish/batch-partial-failure",
    states:
      "publishAll with records that fail rejects with PARTIAL and index-aligned results; the good ones are stored, the bad ones are not, and no failure is hidden.",
    async run(t) {
      const refuse = (record: WireRecord): PublishResult | undefined =>
        record.id === "refused" ? { ok: false, error: driverError("FORBIDDEN", "Refused for the test."), sent: "no" } : undefined;
      const { topic, sink } = await stage(t, {
        tap: {
          narrow: (c) => ({ ...c, message: { ...c.message, maxBytes: Math.min(c.message.maxBytes, 65_536) } }),
          publish: async (records, next) => {
            const passed = [...(await next(records.filter((record) => refuse(record) === undefined)))];
            return records.map((record) => refuse(record) ?? defined(passed.shift(), "a result per record"));
          },
        },
      });
      const error = await rejects(
        topic.publishAll([
          { payload: "a", id: "a" },
          { payload: "x".repeat(70_000), id: "large" },
          { payload: "b", id: "b" },
          { payload: "no", id: "refused" },
          { payload: "c", id: "c" },
        ]),
        "PARTIAL",
        "publishAll with two bad records",
      );
      equal(
        error.details.results.map((result: Receipt | BrokerError) => (isBrokerError(result) ? result.code : (result as Receipt).id)),
        ["a", "TOO_LARGE", "b", "FORBIDDEN", "c"],
        "results by index",
      );
      await topic.publish("last");
      await sink.sees(["a", "b", "c", "last"]);
      eachOnce(sink.payloads, ["a", "b", "c", "last"], "what was stored");
    },
  },
  {
    id: "publish/order-per-key",
    states: "One producer's messages of one key are delivered in the order of the publish calls, without waiting in between.",
    requires: ordered,
    limitMs: 120_000,
    async run(t) {
      const { topic, sink } = await stage(t, { consume: { concurrency: 8 } });
      await publishMany(topic, many(2_000), (n) => `k${n % 5}`);
      await sink.reaches(2_000);
      eachOnce(sink.payloads, many(2_000), "published");
      inKeyOrder(sink, "2,000 publishes without waiting");
    },
  },
  {
    id: "publish/order-two-producers",
    states: "Two producers of one key each keep their own order.",
    requires: ordered,
    limitMs: 120_000,
    async run(t) {
      const { topic, sink, name } = await stage(t);
      const second = (await t.connect()).topic(name);
      await Promise.all([publishMany(topic, many(300, "a"), () => "k"), publishMany(second, many(300, "b"), () => "k")]);
      await sink.reaches(600);
      for (const producer of ["a", "b"]) {
        equal(
          sink.payloads.filter((payload) => payload.startsWith(`${producer}-`)),
          many(300, producer),
          `order of producer ${producer}`,
        );
      }
    },
  },
  {
    id: "publish/concurrent",
    states: "10,000 publishes at once are all confirmed and each is readable once.",
    weight: "heavy",
    limitMs: 120_000,
    async run(t) {
      const { topic, sink } = await stage(t, { consume: { concurrency: 16 } });
      const began = now();
      const receipts = await publishMany(topic, many(10_000), (n) => (t.capabilities.message.key ? `k${n % 50}` : undefined));
      t.measure("publish10kMs", Math.round(now() - began));
      equal(new Set(receipts.map((receipt) => receipt.id)).size, 10_000, "different ids");
      await sink.reaches(10_000, 50_000);
      eachOnce(sink.payloads, many(10_000), "10,000 concurrent publishes");
    },
  },
  {
    id: "publish/one-call-per-key",
    states: "A key is never in two publish calls at once, and where the backend orders by record, never twice in one.",
    requires: hasKeys,
    async run(t) {
      const { topic, wire, name, sink } = await stage(t, {
        tap: {
          publish: async (records, next) => {
            const results = await next(records);
            await pass(2);
            return results;
          },
        },
      });
      await publishMany(topic, many(600), (n) => `k${n % 6}`);
      const calls = wire.of("publish", name);
      for (const [index, call] of calls.entries()) {
        const keys = new Set(keysOf(call));
        if (t.capabilities.publish.order === "record")
          equal(keysOf(call).length, keys.size, `keys twice in publish call ${index}, with publish.order "record"`);
        for (const later of calls.slice(index + 1)) {
          if (later.started >= (call.ended ?? Number.POSITIVE_INFINITY)) continue;
          const shared = keysOf(later).find((key) => keys.has(key));
          check(shared === undefined, `key ${shared} was in two publish calls at once`);
        }
      }
      await sink.reaches(600);
      if (ordered(t.capabilities)) inKeyOrder(sink, "600 publishes on 6 keys");
    },
  },
  {
    id: "publish/in-doubt-order",
    states:
      "While the call with a key's older message has not settled, nothing newer of that key leaves, even though the caller's own deadline has passed.",
    requires: ordered,
    async run(t) {
      const hold = gate();
      let held = 0;
      const { topic, wire, sink } = await stage(t, {
        tap: {
          publish: async (records, next) => {
            if (records.some((record) => record.id === "first") && held++ === 0) await hold.opened;
            return await next(records);
          },
        },
      });
      const first = outcome(topic.publish("first", { key: "k", id: "first", timeoutMs: 150 }));
      await until(() => held > 0, "the first publish to reach the driver");
      const second = topic.publish("second", { key: "k", id: "second" });
      const verdict = await within(first, 5_000, "the first publish, whose deadline is 150 ms");
      if (!verdict.ok)
        equal(
          isError(verdict.error, ["TIMEOUT", "UNAVAILABLE"], "first publish").inDoubt,
          true,
          "inDoubt of a publish whose call is under way",
        );
      await pass(300);
      check(
        !wire.of("publish").some((call) => call.records.some((record) => record.id === "second")),
        "the second message of the key left while the first was in doubt",
      );
      hold.open();
      await within(second, 10_000, "the second publish after the first call has settled");
      await sink.sees(["second"]);
      const seen = sink.payloads.filter((payload, index, list) => list.indexOf(payload) === index);
      equal(seen.at(-1), "second", "the newest of the key is delivered last");
    },
  },
  {
    id: "publish/retry-same-id",
    states: "A publish that certainly was not stored is tried again with the same id and dedupe id, and is delivered once.",
    async run(t) {
      let calls = 0;
      const { topic, wire, sink, name } = await stage(t, {
        tap: {
          publish: async (records, next) =>
            calls++ === 0 ? records.map((): PublishResult => ({ ok: false, error: cut(), sent: "no" })) : await next(records),
        },
      });
      const receipt = await within(
        topic.publish("x", { id: "own", timeoutMs: 8_000 }),
        10_000,
        "a publish whose first attempt was not sent",
      );
      equal(actsOf(wire.of("publish", name)), ["own own"], "id and dedupeId of all attempts");
      check(wire.of("publish", name).length >= 2, "the publish is tried again");
      await topic.publish("end");
      await sink.sees(["x", "end"]);
      equal(
        sink.of("x").map((fact) => fact.id),
        [receipt.id],
        "ids of what was delivered",
      );
    },
  },
  {
    id: "publish/in-doubt",
    states:
      "A publish in doubt either is tried again as the same act (one id, one dedupe id) or rejects with `inDoubt: true`; every stored copy is the same message.",
    async run(t) {
      let calls = 0;
      const { topic, wire, sink, name } = await stage(t, {
        tap: {
          publish: async (records, next) => {
            const results = await next(records);
            return calls++ > 0 ? results : records.map((): PublishResult => ({ ok: false, error: cut(), sent: "maybe" }));
          },
        },
      });
      const verdict = await within(outcome(topic.publish("x", { id: "own", timeoutMs: 8_000 })), 10_000, "a publish whose answer was lost");
      if (!verdict.ok)
        equal(isError(verdict.error, ["UNAVAILABLE", "TIMEOUT"], "a publish whose answer was lost").inDoubt, true, "inDoubt");
      equal(actsOf(wire.of("publish", name)), ["own own"], "id and dedupeId of all attempts");
      await topic.publish("end");
      await sink.sees(["x", "end"]);
      equal([...new Set(sink.of("x").map((fact) => fact.id))], ["own"], "the id of every stored copy");
      if (t.capabilities.dedupe.windowMs > 0) equal(sink.of("x").length, 1, "copies stored inside the dedupe window");
    },
  },
  {
    id: "publish/deadline",
    states: "A publish that the backend does not answer rejects at its own deadline with TIMEOUT and says that it is in doubt.",
    async run(t) {
      const hold = gate();
      const { topic } = await stage(t, {
        tap: {
          publish: async (records, next) => {
            await hold.opened;
            return await next(records);
          },
        },
      });
      const began = now();
      const error = await within(
        rejects(topic.publish("x", { timeoutMs: 200 }), "TIMEOUT", "publish without an answer"),
        5_000,
        "publish with timeoutMs 200",
      );
      hold.open();
      took(began, 150, 2_000, "time until the rejection");
      equal([error.inDoubt, error.retryable], [true, true], "inDoubt and retryable of a time-out");
    },
  },
  {
    id: "publish/latest-deadline",
    states: "Core aborts a driver's call at the latest deadline among its records; each caller's promise rejects at its own.",
    async run(t) {
      let aborted = 0;
      let records = 0;
      const { topic } = await stage(t, {
        tap: {
          publish: async (batch, _next, signal) => {
            records = Math.max(records, batch.length);
            await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
            aborted = now();
            return batch.map((): PublishResult => ({ ok: false, error: cut(), sent: "maybe" }));
          },
        },
      });
      const began = now();
      const times = await within(
        Promise.all(
          [150, 900].map((timeoutMs) => outcome(topic.publish("x", { timeoutMs })).then((verdict) => [verdict.ok, now()] as const)),
        ),
        8_000,
        "two publishes with deadlines of 150 and 900 ms",
      );
      equal(
        times.map(([ok]) => ok),
        [false, false],
        "both reject",
      );
      const [first = 0, second = 0] = times.map(([, at]) => at);
      took(began, 100, 850, "time until the first rejected", first);
      took(began, 850, 3_000, "time until the second rejected", second);
      if (records === 2) took(began, 850, 3_000, "time until the call of both was aborted", aborted);
    },
  },
  {
    id: "publish/call-order",
    states: 'Where publish.order is "call", one key\'s records in one driver call are stored in array order.',
    requires: (c) => ordered(c) && c.publish.order === "call" && c.publish.maxRecords > 1,
    async run(t) {
      const { sink, name } = await stage(t);
      const { driver } = await t.driver();
      const count = Math.min(200, t.capabilities.publish.maxRecords);
      await rawPublish(
        driver,
        many(count).map((payload, n) => rawRecord(name, JSON.stringify(payload), { key: Buffer.from(`k${n % 3}`) })),
      );
      await sink.reaches(count);
      eachOnce(sink.payloads, many(count), "stored by one call");
      inKeyOrder(sink, "one driver call");
    },
  },
  {
    id: "publish/too-large",
    states: "A message above message.maxBytes rejects with TOO_LARGE, which says both sizes, before the wire.",
    async run(t) {
      const maxBytes = Math.min(t.capabilities.message.maxBytes, 100_000);
      const { broker, wire } = await t.record({ tap: { narrow: (c) => ({ ...c, message: { ...c.message, maxBytes } }) } });
      const error = await rejects(broker.topic(t.topic()).publish("x".repeat(maxBytes + 1)), "TOO_LARGE", "publish above the limit");
      equal(error.details.maxBytes, maxBytes, "details.maxBytes");
      check(error.details.bytes > maxBytes, "details.bytes is what it would have been");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "publish/missing-topic",
    states: "Where topics are explicit, a publish to a missing one is NOT_FOUND with provisioning off, and nothing is created.",
    requires: (c) => c.topics.explicit,
    async run(t) {
      const { broker, wire } = await t.record({ provision: "off" });
      const name = t.topic("missing");
      await rejects(broker.topic(name).publish("x", { timeoutMs: 5_000 }), "NOT_FOUND", "publish to a missing topic");
      equal(wire.of("admin.createTopic").length, 0, "createTopic calls with provision: off");
    },
    // Topics that come into being by use are no error, and need no call to be created.
    async twin(t) {
      const { broker, wire } = await t.record({ provision: "off" });
      await broker.topic(t.topic("missing")).publish("x");
      equal(wire.of("admin.createTopic").length, 0, "createTopic calls with provision: off");
    },
  },
  {
    id: "publish/without-groups",
    states: "Publishing to a topic that has no group and no reader succeeds.",
    async run(t) {
      const broker = await t.connect();
      const receipts = await publishMany(broker.topic(t.topic()), many(50));
      equal(receipts.length, 50, "receipts");
    },
  },
  {
    id: "publish/closed",
    states: "Publishing on a closed broker rejects with CLOSED before the wire.",
    async run(t) {
      const { broker, wire } = await t.record();
      const topic = broker.topic(t.topic());
      await topic.publish("x");
      await broker.close();
      const before = wire.of("publish").length;
      await refuses(() => topic.publish("y"), "CLOSED", "publish after close");
      equal(wire.of("publish").length, before, "driver.publish calls after close");
    },
  },
  {
    id: "publish/cancelled",
    states: "A publish with an aborted signal rejects and sends nothing; one aborted on its way rejects within a second.",
    async run(t) {
      const hold = gate();
      let holding = false;
      const { topic, wire, sink } = await stage(t, {
        tap: {
          publish: async (records, next) => {
            if (holding) await hold.opened;
            return await next(records);
          },
        },
      });
      const early = await outcome(topic.publish("early", { signal: AbortSignal.abort() }));
      check(!early.ok, "a publish with an aborted signal rejects");
      isError(early.error, ["ABORTED"], "a publish with an aborted signal");
      equal(wire.of("publish").length, 0, "driver.publish calls for an aborted publish");
      holding = true;
      const controller = new AbortController();
      const late = outcome(topic.publish("late", { signal: controller.signal }));
      await until(() => wire.of("publish").length > 0, "the publish to reach the driver");
      const began = now();
      controller.abort();
      const verdict = await within(late, 3_000, "a publish aborted on its way");
      holding = false;
      hold.open();
      check(!verdict.ok, "a publish aborted on its way rejects");
      took(began, 0, 1_500, "time from abort to rejection");
      equal(isError(verdict.error, ["ABORTED"], "a publish aborted on its way").inDoubt, true, "inDoubt of a publish aborted on its way");
      await topic.publish("after");
      await sink.sees(["after"]);
      equal(sink.of("early").length, 0, "deliveries of the message that was aborted before it left");
    },
  },
  {
    id: "publish/schema",
    states:
      "A payload that violates the schema rejects with INVALID_PAYLOAD and the issues, before the wire; a valid one is delivered as the schema's output.",
    async run(t) {
      const { broker, wire } = await t.record();
      const number = schema<number>((value) => {
        if (typeof value === "number") return value;
        throw new Error("not a number");
      });
      const name = t.topic();
      const topic = open(broker, name, { schema: number });
      const error = await rejects(topic.publish("seven"), "INVALID_PAYLOAD", "publish against the schema");
      equal(
        error.details.issues.map((issue) => issue.message),
        ["not a number"],
        "details.issues",
      );
      equal(wire.of("publish").length, 0, "driver.publish calls");
      const sink = new Sink();
      await sink.join(topic, t.way());
      await topic.publish(7);
      await sink.reaches(1);
      equal(sink.facts[0]?.payload, 7, "payload");
    },
  },
  {
    id: "publish/unknown-option",
    states: "An option that does not exist is refused, not ignored.",
    async run(t) {
      const { broker, wire } = await t.record();
      const misspelt = { kye: "k" } as object;
      await refuses(() => broker.topic(t.topic()).publish("x", misspelt), "INVALID_ARGUMENT", "publish with a misspelt option");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "publish/many-topics",
    states: "Records for many topics sent at once arrive in their own topic and nowhere else.",
    async run(t) {
      const broker = await t.connect();
      const names = many(20).map(() => t.topic());
      const sinks = names.map(() => new Sink());
      for (const [n, name] of names.entries()) await sinks[n]?.join(broker.topic(name), t.way());
      await Promise.all(names.flatMap((name) => many(20, name).map((payload) => broker.topic(name).publish(payload))));
      for (const [n, name] of names.entries()) {
        await sinks[n]?.reaches(20);
        eachOnce(sinks[n]?.payloads ?? [], many(20, name), `messages of topic ${n}`);
      }
    },
  },
  {
    id: "publish/interceptor-checked",
    states: "What an interceptor adds is checked like the rest: a reserved or unsafe header is refused before the wire.",
    requires: hasHeaders,
    async run(t) {
      for (const header of ["brokerkit-id", "a\r\nb"]) {
        const { broker, wire } = await t.record({
          use: [
            {
              publish: async (record, next) => {
                record.headers[header] = "x";
                return await next();
              },
            },
          ],
        });
        await rejects(
          broker.topic(t.topic()).publish("x"),
          "INVALID_ARGUMENT",
          `publish with the header ${JSON.stringify(header)} from an interceptor`,
        );
        equal(wire.of("publish").length, 0, "driver.publish calls");
      }
    },
  },
];

/** Payloads are `<prefix>-<n>`: within a key, n only grows. */
export function inKeyOrder(sink: Sink, what: string): void {
  const last = new Map<string, number>();
  for (const fact of sink.facts) {
    const key = fact.key ?? "";
    const n = Number(String(fact.payload).split("-").at(-1));
    const before = last.get(key) ?? -1;
    check(n > before, `${what}: key "${key}" delivered ${fact.payload} after …-${before}`);
    last.set(key, n);
  }
}
