import type { SettleResult, WireDelivery } from "brokerkit/driver";
import { check, defined, eachOnce, equal, refuses, rejects } from "../assert.ts";
import { all, type Case, type Claim, hasKeys, leases, redelivers } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { rawMember, rawPublish, rawRecord } from "../raw.ts";
import { Sink } from "../sink.ts";
import { stage } from "../stage.ts";
import { gate, now, pass, took, until } from "../wait.ts";

/** Longer than any lease: what has none must hold as long. */
const long = (t: Context): number => 2.3 * (leases(t.capabilities) ? t.capabilities.lease.ms : 500);
const extendable: Claim = all(leases, (c) => c.lease.extend);

export const lease: readonly Case[] = [
  {
    id: "lease/long-handler",
    states: "A handler that takes longer than the lease keeps its message: nobody else gets it, with a second member waiting.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, name, subscription } = await stage(t, {}, () => pass(long(t)));
      await topic.publish("x");
      await sink.reaches(1);
      await sink.join((await t.connect()).topic(name), t.way());
      await sink.rests(t.patience);
      await subscription.flush();
      await sink.listens(leases(t.capabilities) ? 1.2 * t.capabilities.lease.ms : 200);
      equal(
        sink.facts.map((fact) => [fact.payload, fact.attempt]),
        [["x", 1]],
        "handler runs",
      );
    },
  },
  {
    id: "lease/buffered",
    states:
      "Messages that wait in the buffer behind a handler longer than the lease are kept too: none is redelivered, none handled twice.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, name } = await stage(t, {}, (message) => (message.payload === "m-0" ? pass(long(t)) : undefined));
      await publishMany(topic, many(40));
      await sink.reaches(1);
      const second = new Sink();
      await second.join((await t.connect()).topic(name), t.way());
      await until(() => sink.facts.length + second.facts.length >= 40, "all messages to be handled", t.patience);
      await sink.rests();
      await sink.listens(leases(t.capabilities) ? 0.5 * t.capabilities.lease.ms : 100);
      const facts = [...sink.facts, ...second.facts];
      eachOnce(
        facts.map((fact) => String(fact.payload)),
        many(40),
        "handled, while the first took longer than the lease",
      );
      check(
        facts.every((fact) => fact.attempt === 1),
        "every message was delivered once",
      );
    },
  },
  {
    id: "lease/extend",
    states: "extend(ms) moves the handler's own limit: a handler that asked for more time is not timed out.",
    requires: (c) => redelivers(c) && c.supply.extend !== "none",
    async run(t) {
      const { topic, sink } = await stage(
        t,
        { consume: { timeoutMs: 300, retry: { backoffMs: { initial: 10, factor: 1, max: 10 } } } as object },
        async (message) => {
          await message.extend(2_000);
          await pass(700);
          check(!message.signal.aborted, "the signal of an extended handler has not aborted");
        },
      );
      await topic.publish("x");
      await sink.reaches(1);
      await sink.rests();
      await pass(100);
      equal(sink.facts.length, 1, "handler runs");
    },
    async twin(t) {
      if (!redelivers(t.capabilities)) return;
      const { topic, sink } = await stage(t, {}, async (message) => {
        await refuses(() => message.extend(1_000), "UNSUPPORTED", "extend");
      });
      await topic.publish("x");
      await sink.reaches(1);
      await sink.rests();
    },
  },
  {
    id: "lease/fence",
    states:
      "Where extending fails, core fences itself at the lease's end: the signal aborts by then and nothing of it is settled on the wire.",
    requires: extendable,
    async run(t) {
      const hold = gate();
      const { topic, sink, wire, name } = await stage(
        t,
        {
          tap: {
            extend: async (deliveries): Promise<readonly SettleResult[]> => deliveries.map(() => ({ error: new Error("unreachable") })),
          },
        },
        () => hold.opened,
      );
      await topic.publish("x");
      await sink.reaches(1);
      const { delivery, started } = defined(sink.facts[0], "the handler run");
      await until(() => delivery.signal.aborted, "the signal to abort", t.capabilities.lease.ms + 2_000);
      took(started, 0, t.capabilities.lease.ms + 1_000, "time until the signal aborted");
      await rejects(delivery.ack(), "LOST_OWNERSHIP", "ack after the lease's end");
      hold.open();
      await pass(50);
      const first = wire.of("receive", name).flatMap((call) => call.received)[0];
      check(
        !wire.of("ack", name).some((call) => call.deliveries.includes(defined(first, "the first delivery"))),
        "the delivery whose lease ended is not settled on the wire",
      );
    },
  },
  {
    id: "lease/expired-not-started",
    states: "A process that stood still past its lease starts no handler for what it had buffered: that is somebody else's by now.",
    requires: all(leases, (c) => c.redelivery.counted !== "none"),
    weight: "alone",
    async run(t) {
      const { topic, sink } = await stage(t, {}, (message) => {
        if (message.payload !== "m-0" || message.attempt > 1) return;
        // Nothing of this process runs meanwhile, neither timers nor extensions.
        const end = now() + 1.5 * t.capabilities.lease.ms;
        while (now() < end);
      });
      await publishMany(topic, many(6));
      await until(() => sink.facts.filter((fact) => fact.attempt > 1).length >= 1, "a redelivery after the stand-still", t.patience);
      await sink.sees(many(6), t.patience);
      const buffered = sink.facts[0]?.payload === "m-0" ? sink.facts.slice(1) : sink.facts;
      const held = new Set(buffered.filter((fact) => fact.attempt === 1).map((fact) => fact.payload));
      const again = new Set(sink.facts.filter((fact) => fact.attempt > 1).map((fact) => fact.payload));
      equal(
        [...held].filter((payload) => again.has(payload)),
        [],
        "messages that were handled from the expired buffer and delivered again",
      );
    },
  },
  {
    id: "lease/extend-only-owned",
    states: "extend counts only for the owner: a member past its lease answers lost, and takes nothing back from the one that owns it now.",
    requires: extendable,
    async run(t) {
      const name = t.topic();
      await (await t.connect()).topic(name).createGroup("g");
      const { driver } = await t.driver();
      const one = await rawMember(driver, name, "g");
      await rawPublish(driver, [rawRecord(name, "1")]);
      await one.takes(1, 5_000);
      const two = await rawMember((await t.driver()).driver, name, "g");
      await two.takes(1, t.patience);
      const extend = async (member: typeof one): Promise<readonly SettleResult[]> =>
        (await defined(member.subscription.extend, "extend, since lease.extend is declared").call(
          member.subscription,
          member.got.slice(-1),
          t.capabilities.lease.ms,
        )) ?? [];
      equal(await extend(one), ["lost"], "extend by the member past its lease");
      check((await extend(two))[0] !== "lost", "extend by the owner counts");
      check((await two.subscription.ack(two.got))[0] !== "lost", "the owner still owns it after the other's extend");
      equal(await extend(two), ["lost"], "extend of what is settled");
    },
  },
  {
    id: "lease/extended",
    states: "A delivery that its owner extends is not given to another member while it does.",
    requires: extendable,
    async run(t) {
      const name = t.topic();
      await (await t.connect()).topic(name).createGroup("g");
      const { driver } = await t.driver();
      const one = await rawMember(driver, name, "g");
      await rawPublish(driver, [rawRecord(name, "1")]);
      await one.takes(1, 5_000);
      const two = await rawMember((await t.driver()).driver, name, "g");
      let came: readonly WireDelivery[] = [];
      for (let n = 0; n < 5 && came.length === 0; n += 1) {
        await defined(one.subscription.extend, "extend").call(one.subscription, one.got, t.capabilities.lease.ms);
        came = await two.listens(0.4 * t.capabilities.lease.ms);
      }
      equal(came.length, 0, "deliveries to the second member over two leases");
      check((await one.subscription.ack(one.got))[0] !== "lost", "the first member still owns it");
    },
  },
  {
    id: "lease/lost-keeps-lane",
    states: "A lost delivery keeps its key's lane until its handler returns: the same key is not handled twice at once in this process.",
    requires: all(redelivers, hasKeys, (c) => c.seek === "live" && c.keyOrder !== "none"),
    async run(t) {
      const hold = gate();
      let overlap = 0;
      let inside = 0;
      const { topic, sink } = await stage(t, { consume: { concurrency: 4 } }, async (message) => {
        inside += 1;
        overlap = Math.max(overlap, inside);
        // This handler ignores its signal for a while, as handlers do.
        if (message.payload === "m-0" && sink.of("m-0").length === 1) await hold.opened;
        await pass(1);
        inside -= 1;
      });
      await publishMany(topic, many(5), () => "k");
      await sink.reaches(1);
      await topic.group("g").seek("earliest");
      await until(() => sink.facts[0]?.delivery.signal.aborted === true, "the running handler to lose its message");
      await sink.listens(300);
      equal(sink.facts.length, 1, "runs of that key while the lost handler still runs");
      hold.open();
      await sink.reaches(6, t.patience);
      equal(overlap, 1, "handlers of one key at once");
    },
  },
  {
    id: "lease/lost-lane-bounded",
    states: "A lost delivery whose handler ignores its signal holds its key no longer than its timeoutMs: then the key goes on.",
    requires: all(redelivers, hasKeys, (c) => c.seek === "live" && c.keyOrder !== "none"),
    async run(t) {
      const never = gate();
      let runs = 0;
      const { topic, sink, name } = await stage(
        t,
        { consume: { timeoutMs: 600, retry: { backoffMs: { initial: 10, factor: 1, max: 10 } } } as object },
        () => (runs++ === 0 ? never.opened : undefined),
      );
      const events = t.events(name);
      await topic.publish("m-0", { key: "k" });
      await sink.reaches(1);
      const began = defined(sink.facts[0], "the first run").started;
      await topic.group("g").seek("earliest");
      await sink.reaches(2, t.patience);
      took(began, 500, 5_000, "time until the key went on, with timeoutMs 600", defined(sink.facts[1], "the second run").started);
      check(
        events.some((event) => event.type === "timeout"),
        "an event says that the handler's time was over",
      );
      never.open();
    },
  },
];
