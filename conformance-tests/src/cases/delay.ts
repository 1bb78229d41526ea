import type { PublishOptions } from "brokerkit";
import { check, defined, eachOnce, equal, refuses } from "../assert.ts";
import { all, type Case, hasMoreGroups, redelivers } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { Sink } from "../sink.ts";
import { stage } from "../stage.ts";
import { pass, took } from "../wait.ts";

async function refused(t: Context, o: PublishOptions, capability: string): Promise<void> {
  const { broker, wire } = await t.record();
  const error = await refuses(() => broker.topic(t.topic()).publish("x", o), "UNSUPPORTED", `publish with ${JSON.stringify(o)}`);
  equal(error.details.capability, capability, "details.capability");
  check(error.message.includes(capability), "the message names the capability");
  equal(wire.of("publish").length, 0, "driver.publish calls");
}

export const delay: readonly Case[] = [
  {
    id: "delay/publish",
    states:
      "A delayed message is delivered not before its time and soon after it; what was published later without a delay comes before it.",
    requires: (c) => c.delay.maxMs >= 1_000,
    async run(t) {
      const { topic, sink } = await stage(t);
      const published = Date.now() - performance.timeOrigin;
      await topic.publish("later", { delayMs: 1_000 });
      await topic.publish("now");
      await sink.sees(["later"]);
      const arrived = defined(sink.of("later")[0], "the delayed message").started;
      t.measure("delay1000Ms", Math.round(arrived - published));
      // Backends that count in whole milliseconds may round down.
      took(published, 995, 5_000, "time until a message with delayMs 1,000 came", arrived);
      equal(sink.payloads, ["now", "later"], "order of delivery");
    },
    twin: (t) => refused(t, { delayMs: 1_000 }, "delay"),
  },
  {
    id: "delay/many",
    states: "Messages with different delays come in the order of their times, each once, in every group.",
    requires: (c) => c.delay.maxMs >= 1_000,
    async run(t) {
      const { topic, sink } = await stage(t);
      const other = new Sink();
      const two = all(redelivers, hasMoreGroups)(t.capabilities);
      if (two) await other.join(topic, t.way("other"));
      const delays = [900, 300, 600];
      await Promise.all(delays.map((delayMs) => topic.publish(`d-${delayMs}`, { delayMs })));
      await sink.reaches(3);
      await sink.listens(200);
      equal(sink.payloads, ["d-300", "d-600", "d-900"], "order of delivery");
      if (!two) return;
      await other.reaches(3);
      equal(other.payloads, sink.payloads, "order of delivery in the other group");
    },
  },
  {
    id: "delay/nobody-there",
    states: "A message whose time comes while nobody listens is delivered to who comes.",
    requires: (c) => c.delay.maxMs >= 1_000 && redelivers(c),
    async run(t) {
      const { topic, broker, name } = await stage(t);
      await topic.publish("x", { delayMs: 300 });
      await broker.close();
      await pass(500);
      const sink = new Sink();
      await sink.join((await t.connect()).topic(name), t.way());
      await sink.sees(["x"], t.patience);
    },
  },
  {
    id: "delay/too-long",
    states: "A delay beyond delay.maxMs is refused before the wire, and so are negative ones and ones that are no numbers.",
    requires: (c) => c.delay.maxMs > 0,
    async run(t) {
      const { broker, wire } = await t.record({ tap: { narrow: (c) => ({ ...c, delay: { maxMs: Math.min(c.delay.maxMs, 60_000) } }) } });
      for (const delayMs of [60_001, -1, Number.NaN])
        await refuses(
          () => broker.topic(t.topic()).publish("x", { delayMs }),
          ["INVALID_ARGUMENT", "UNSUPPORTED"],
          `publish with delayMs ${delayMs}`,
        );
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "ttl/expires",
    states: "A message that outlived its time to live is not delivered; one that did not is.",
    requires: (c) => c.ttl.maxMs >= 5_000 && redelivers(c),
    async run(t) {
      const topic = (await t.connect()).topic(t.topic());
      await topic.createGroup("g");
      await topic.publish("short", { ttlMs: 200 });
      await topic.publish("long", { ttlMs: 60_000 });
      await pass(600);
      const sink = new Sink();
      await sink.join(topic, t.way());
      await topic.publish("end");
      await sink.sees(["long", "end"]);
      eachOnce(sink.payloads, ["long", "end"], "delivered after 600 ms");
    },
    twin: (t) => refused(t, { ttlMs: 5_000 }, "ttl"),
  },
  {
    id: "priority/higher-first",
    states: "Of what waits, higher priorities are delivered first; a level that does not exist is refused.",
    requires: (c) => c.priority.levels >= 2 && redelivers(c),
    async run(t) {
      const { broker, wire } = await t.record();
      const topic = broker.topic(t.topic());
      await topic.createGroup("g");
      const high = t.capabilities.priority.levels - 1;
      await publishMany(topic, many(5, "low"));
      for (const payload of many(5, "high")) await topic.publish(payload, { priority: high });
      const sink = new Sink();
      await sink.join(topic, { ...t.way(), order: "none" });
      await sink.reaches(10);
      equal([...sink.payloads].sort(), [...many(5, "high"), ...many(5, "low")], "delivered");
      equal(
        sink.payloads.slice(0, 5).every((payload) => payload.startsWith("high")),
        true,
        "the first five are the high ones",
      );
      const before = wire.of("publish").length;
      for (const priority of [high + 1, -1, 0.5])
        await refuses(() => topic.publish("x", { priority }), ["INVALID_ARGUMENT", "UNSUPPORTED"], `publish with priority ${priority}`);
      equal(wire.of("publish").length, before, "driver.publish calls");
    },
    twin: (t) => refused(t, { priority: 1 }, "priority"),
  },
  {
    id: "dedupe/window",
    states:
      "Publishing one id again within the window stores nothing and says `duplicate: true`; other ids and other topics are untouched.",
    requires: (c) => c.dedupe.windowMs > 0,
    async run(t) {
      const { topic, sink, broker } = await stage(t);
      const first = await topic.publish("x", { id: "one" });
      const second = await topic.publish("x", { id: "one" });
      const third = await topic.publish("y", { id: "two" });
      equal([first.duplicate, second.duplicate, third.duplicate], [false, true, false], "duplicate");
      const elsewhere = await broker.topic(t.topic()).publish("x", { id: "one" });
      equal(elsewhere.duplicate, false, "duplicate of the same id on another topic");
      await topic.publish("end");
      await sink.sees(["x", "y", "end"]);
      eachOnce(sink.payloads, ["x", "y", "end"], "stored");
    },
  },
  {
    id: "dedupe/other-connection",
    states: "The window counts across connections: another producer's act with the same id stores nothing either.",
    requires: (c) => c.dedupe.windowMs > 0,
    async run(t) {
      const { topic, sink, name } = await stage(t);
      await topic.publish("x", { id: "one" });
      const again = await (await t.connect()).topic(name).publish("x", { id: "one" });
      equal(again.duplicate, true, "duplicate");
      await topic.publish("end");
      await sink.sees(["x", "end"]);
      eachOnce(sink.payloads, ["x", "end"], "stored");
    },
  },
];
