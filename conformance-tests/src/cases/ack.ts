import type { Delivery } from "brokerkit";
import type { SubscribeRequest, WireDelivery } from "brokerkit/driver";
import { check, defined, eachOnce, equal, rejects } from "../assert.ts";
import { all, type Case, hasGroups, leases, redelivers, seeks } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { rawMember, rawPublish, rawRecord } from "../raw.ts";
import type { Recorded } from "../recording.ts";
import { Sink } from "../sink.ts";
import { stage } from "../stage.ts";
import { gate, now, pass, took, until, within } from "../wait.ts";

/** Ids that were settled on the wire, once for each time. */
export const settledOnWire = (wire: Recorded, topic: string): readonly (string | undefined)[] =>
  ["ack", "nack"].flatMap((operation) => wire.of(operation, topic).flatMap((call) => call.deliveries.map((delivery) => delivery.id)));

/** A new member on a new connection, and a message to mark the end: what it gets before that mark was not settled. */
async function leftover(t: Context, name: string): Promise<Sink> {
  const sink = new Sink();
  const topic = (await t.connect()).topic(name);
  await sink.join(topic, { ...t.way(), concurrency: 32 });
  await topic.publish("end");
  await sink.sees(["end"], t.patience);
  return sink;
}

export const ack: readonly Case[] = [
  {
    id: "ack/final",
    states: "What was acknowledged and flushed never comes back to the group, on no connection.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, subscription, broker, name } = await stage(t, { consume: { concurrency: 8 } });
      await publishMany(topic, many(200), (n) => (t.capabilities.message.key ? `k${n}` : undefined));
      await sink.reaches(200);
      await sink.rests();
      await subscription.flush();
      await broker.close();
      const after = await leftover(t, name);
      equal(after.payloads, ["end"], "delivered after everything was acknowledged");
    },
  },
  {
    id: "ack/silence",
    states: "What was acknowledged is not delivered again when the lease runs out.",
    requires: all(redelivers, leases),
    async run(t) {
      const { topic, sink, subscription } = await stage(t, { consume: { concurrency: 8 } });
      await publishMany(topic, many(50));
      await sink.reaches(50);
      await subscription.flush();
      await sink.listens(1.5 * t.capabilities.lease.ms);
      eachOnce(sink.payloads, many(50), "after one and a half leases");
    },
  },
  {
    id: "ack/flush",
    states: "flush() resolves when the backend has every ack given so far: a member that joins then gets none of it.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, subscription, name } = await stage(t, { consume: { concurrency: 4 } });
      await publishMany(topic, many(60));
      await sink.reaches(60);
      await sink.rests();
      await within(subscription.flush(), 10_000, "flush");
      const { driver } = await t.driver();
      const member = await rawMember(driver, name, "g");
      const came = await member.listens(leases(t.capabilities) ? 1.3 * t.capabilities.lease.ms : 300);
      equal(
        came.map((delivery) => delivery.id),
        [],
        "delivered to a second member after flush",
      );
    },
  },
  {
    id: "ack/manual",
    states: "ack() inside the handler settles once: returning afterwards sends nothing more, and a throw afterwards is no failure.",
    requires: redelivers,
    async run(t) {
      const { topic, sink, subscription, name, wire } = await stage(t, {}, async (message) => {
        await message.ack();
        if (message.payload === "throws") throw new Error("after the ack");
      });
      await topic.publish("returns");
      await topic.publish("throws");
      await sink.sees(["returns", "throws"]);
      await sink.rests();
      await subscription.flush();
      equal(settledOnWire(wire, name).length, 2, "deliveries settled on the wire");
      await subscription.close();
      equal((await leftover(t, name)).payloads, ["end"], "delivered again");
    },
  },
  {
    id: "ack/double",
    states:
      "A second settle sends nothing and rejects with ALREADY_SETTLED: ack twice, ack after nack, nack after ack, after reject, and after the handler returned.",
    requires: hasGroups,
    async run(t) {
      const seen: string[] = [];
      let kept: Delivery<unknown> | undefined;
      const { topic, sink, subscription, wire, name } = await stage(
        t,
        { consume: { retry: { backoffMs: { initial: 10, factor: 1, max: 10 } } } as object },
        async (message) => {
          const { payload } = message;
          if (payload === "kept") kept = message;
          if (payload === "kept" || message.attempt > 1) return;
          if (payload === "ack-ack" || payload === "ack-nack") await message.ack();
          if (payload === "nack-ack") await message.nack({ delayMs: 0 });
          const again = payload === "ack-nack" ? message.nack() : message.ack();
          await rejects(again, "ALREADY_SETTLED", `the second settle of ${String(payload)}`);
          seen.push(String(payload));
        },
      );
      const payloads = ["ack-ack", "ack-nack", ...(redelivers(t.capabilities) ? ["nack-ack"] : []), "kept"];
      await publishMany(topic, payloads);
      await sink.sees(payloads);
      await until(() => seen.length === payloads.length - 1, "the second settles to reject");
      await sink.rests();
      await subscription.flush();
      const before = settledOnWire(wire, name).length;
      await rejects(defined(kept, "the kept delivery").ack(), "ALREADY_SETTLED", "ack after the handler returned");
      await rejects(defined(kept, "the kept delivery").nack(), "ALREADY_SETTLED", "nack after the handler returned");
      await subscription.flush();
      equal(settledOnWire(wire, name).length, before, "deliveries settled on the wire by second settles");
    },
  },
  {
    id: "ack/unawaited",
    states: "A refused settle that nobody awaits does not end the process.",
    requires: hasGroups,
    async run(t) {
      const unhandled: unknown[] = [];
      const listen = (reason: unknown): void => {
        unhandled.push(reason);
      };
      process.on("unhandledRejection", listen);
      t.defer(() => process.off("unhandledRejection", listen));
      const { topic, sink } = await stage(t, {}, (message) => {
        void message.ack();
        void message.ack();
        void message.nack();
        void message.extend(10);
      });
      await topic.publish("x");
      await sink.reaches(1);
      await sink.rests();
      // Unhandled rejections are reported when the turn of the event loop is over.
      await pass(20);
      equal(unhandled, [], "unhandled rejections");
    },
  },
  {
    id: "ack/redelivered-after-close",
    states:
      "What was delivered and not settled when a member leaves is delivered to the next one: nothing is acknowledged before its handler.",
    requires: redelivers,
    async run(t) {
      const never = gate();
      const { topic, sink, subscription, broker, name } = await stage(t, { consume: { concurrency: 4 } }, () => never.opened);
      await publishMany(topic, many(20));
      await sink.reaches(4);
      await within(subscription.close({ deadlineMs: 0 }), 10_000, "close with deadlineMs 0");
      await broker.close({ deadlineMs: 0 });
      const after = await leftover(t, name);
      await after.sees(many(20), t.patience);
      eachOnce(after.payloads, [...many(20), "end"], "delivered to the next member");
      never.open();
    },
  },
  {
    id: "ack/redelivered-after-lease",
    states: "What a member neither settles nor extends goes to another member when the lease runs out, not before.",
    requires: leases,
    async run(t) {
      const { driver, name, one } = await twoMembers(t);
      await rawPublish(driver, [rawRecord(name, "1", { id: "a" }), rawRecord(name, "2", { id: "b" })]);
      await one.takes(2, 5_000);
      const taken = now();
      const two = await rawMember((await t.driver()).driver, name, "g");
      await two.takes(2, t.patience);
      t.measure("redeliveryAfterLeaseMs", Math.round(now() - taken));
      // One round trip of receiving lies between the lease's begin on the backend and ours.
      took(taken, t.capabilities.lease.ms - 500, 4 * t.capabilities.lease.ms + 2_000, "time until another member got it");
      eachOnce(
        two.got.map((delivery) => String(delivery.id)),
        ["a", "b"],
        "redelivered after the lease",
      );
    },
  },
  {
    id: "ack/late",
    states: "A settle after ownership was lost changes nothing: not this message, which another member owns now, and no other.",
    requires: leases,
    async run(t) {
      const { driver, name, one } = await twoMembers(t);
      await rawPublish(driver, [rawRecord(name, "1", { id: "a" })]);
      await one.takes(1, 5_000);
      const two = await rawMember((await t.driver()).driver, name, "g");
      await two.takes(1, t.patience);
      equal(await one.subscription.ack(one.got), ["lost"], "ack of the member that lost it");
      if (one.subscription.nack !== undefined) {
        equal(
          await one.subscription.nack(one.got.map((delivery) => ({ delivery, delayMs: 0, failures: 1 }))),
          ["lost"],
          "nack of the member that lost it",
        );
      }
      // The first member's ack must not have settled it: unsettled by the second, it comes again.
      const three = await rawMember((await t.driver()).driver, name, "g");
      await two.subscription.close();
      await three.takes(1, t.patience);
      const results = await three.subscription.ack(three.got);
      check(results[0] !== "lost", "the owner's own ack counts");
      await rawPublish(driver, [rawRecord(name, "2", { id: "b" })]);
      await three.takes(2, t.patience);
      equal(
        three.got.map((delivery) => delivery.id),
        ["a", "b"],
        "what the last owner got",
      );
    },
  },
  {
    id: "ack/gap",
    states: "Acks out of order never pass over a gap: what was not settled comes again, whatever was acknowledged behind it.",
    requires: redelivers,
    async run(t) {
      const never = gate();
      const held = "m-3";
      const { topic, sink, subscription, broker, name } = await stage(t, { consume: { concurrency: 20 } }, (message) =>
        message.payload === held ? never.opened : undefined,
      );
      await publishMany(topic, many(20));
      await sink.sees(many(20));
      await until(() => sink.running === 1, "all but one handler to end");
      await subscription.flush();
      await subscription.close({ deadlineMs: 0 });
      await broker.close({ deadlineMs: 0 });
      const after = await leftover(t, name);
      await after.sees([held], t.patience);
      if (t.capabilities.settle.unit === "message") eachOnce(after.payloads, [held, "end"], "delivered again after a gap");
      never.open();
    },
  },
  {
    id: "ack/batch",
    states: "Settling many deliveries in one call settles every one of them, on every shard.",
    requires: redelivers,
    async run(t) {
      const { topic, subscription, broker, name, sink } = await stage(t, { consume: { concurrency: 64 } });
      await subscription.close();
      await publishMany(topic, many(300), (n) => (t.capabilities.message.key ? `k${n}` : undefined));
      let count = 0;
      const batches = await topic.subscribeBatches({ ...t.way(), group: "g", max: 100, waitMs: 50 }, async (batch) => {
        count += batch.length;
        await batch.ack();
      });
      await until(() => count >= 300, "300 messages");
      await batches.flush();
      await broker.close();
      const after = await leftover(t, name);
      equal([count, after.payloads, sink.facts.length], [300, ["end"], 0], "handled, delivered again, handled by the closed member");
    },
  },
  {
    id: "ack/lost-shard",
    states:
      "After ownership of a shard is lost, what has not started is dropped, running signals abort, settles reject with LOST_OWNERSHIP, and nothing of it is settled on the wire.",
    requires: redelivers,
    async run(t) {
      const requests: SubscribeRequest[] = [];
      const hold = gate();
      const { topic, sink, wire, name, broker } = await stage(
        t,
        {
          consume: { concurrency: 2 },
          tap: {
            subscribe: (request, next) => {
              requests.push(request);
              return next(request);
            },
          },
        },
        () => hold.opened,
      );
      await publishMany(topic, many(20));
      await sink.reaches(2);
      const received = (): readonly WireDelivery[] => wire.of("receive", name).flatMap((call) => call.received);
      await until(() => received().length >= 2, "deliveries");
      for (const shard of new Set(received().map((delivery) => delivery.shard))) requests[0]?.events.lost(shard, "lost for the test");
      const lost = received().map((delivery) => delivery.id);
      const [fact] = sink.facts;
      const { delivery } = defined(fact, "a running handler");
      await until(() => delivery.signal.aborted, "the running handler's signal to abort", 2_000);
      await rejects(delivery.ack(), "LOST_OWNERSHIP", "ack after the shard was lost");
      const started = sink.facts.length;
      hold.open();
      await sink.rests();
      await pass(100);
      equal(
        settledOnWire(wire, name).filter((id) => lost.includes(id)),
        [],
        "deliveries of the lost shard that were settled on the wire",
      );
      check(
        sink.facts.slice(started).every((later) => !lost.includes(later.id)),
        "what had not started when the shard was lost does not start",
      );
      await broker.close({ deadlineMs: 0 });
      // The driver itself lost nothing, so that what it delivered afterwards may have been handled here.
      const later = sink.facts.slice(started).map((one) => one.payload);
      await (await leftover(t, name)).sees(
        many(20).filter((payload) => !later.includes(payload)),
        t.patience,
      );
    },
  },
  {
    id: "ack/after-seek",
    states: "Moving a live group is a loss for what its members hold: their settles change nothing.",
    requires: all(redelivers, seeks, (c) => c.seek === "live"),
    async run(t) {
      const hold = gate();
      let first = true;
      const results: unknown[] = [];
      const { topic, sink } = await stage(t, {}, async (message) => {
        if (!first) return;
        first = false;
        await hold.opened;
        results.push(
          await message.ack().then(
            () => "accepted",
            (error: { code?: string }) => error.code,
          ),
        );
      });
      await topic.publish("x");
      await sink.reaches(1);
      await topic.group("g").seek("earliest");
      await until(() => sink.facts[0]?.delivery.signal.aborted === true, "the signal of what was held to abort", 5_000);
      hold.open();
      await sink.reaches(2, t.patience);
      equal(results, ["LOST_OWNERSHIP"], "the ack of the delivery that was lost");
      equal(sink.payloads, ["x", "x"], "handled again after the seek");
    },
  },
];

async function twoMembers(
  t: Context,
): Promise<{ driver: Awaited<ReturnType<Context["driver"]>>["driver"]; name: string; one: Awaited<ReturnType<typeof rawMember>> }> {
  const name = t.topic();
  // A first subscription by core creates what must exist; then only drivers act.
  const broker = await t.connect();
  await broker.topic(name).createGroup("g");
  const { driver } = await t.driver();
  return { driver, name, one: await rawMember(driver, name, "g") };
}
