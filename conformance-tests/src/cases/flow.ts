import { between, check, defined, eachAtLeastOnce, eachOnce, equal } from "../assert.ts";
import { type Case, leases, redelivers } from "../case.ts";
import { many, publishMany } from "../context.ts";
import type { SlowConsumerJob } from "../programs/slow-consumer.ts";
import { startProgram } from "../programs/start.ts";
import type { WireCall } from "../recording.ts";
import { open, stage } from "../stage.ts";
import { gate, pass, until } from "../wait.ts";

const MIB = 2 ** 20;

/** The most calls of a kind that were under way at once. */
function widest(calls: readonly WireCall[]): number {
  const edges = calls.flatMap((call) => [
    { at: call.started, step: 1 },
    { at: call.ended ?? Number.POSITIVE_INFINITY, step: -1 },
  ]);
  let width = 0;
  let most = 0;
  for (const { step } of edges.sort((a, b) => a.at - b.at || a.step - b.step)) {
    width += step;
    most = Math.max(most, width);
  }
  return most;
}

export const flow: readonly Case[] = [
  {
    id: "flow/publish-limits",
    states: "Core keeps to the limits of publish: records and bytes a call, calls at once.",
    async run(t) {
      const limits = { maxRecords: 10, maxBytes: 4_000, inFlight: 2 };
      const { topic, sink, wire, name } = await stage(t, {
        tap: {
          narrow: (c) => ({
            ...c,
            publish: {
              ...c.publish,
              maxRecords: Math.min(c.publish.maxRecords, limits.maxRecords),
              maxBytes: Math.min(c.publish.maxBytes, limits.maxBytes),
              inFlight: Math.min(c.publish.inFlight, limits.inFlight),
            },
          }),
          publish: async (records, next) => {
            await pass(1);
            return await next(records);
          },
        },
      });
      await publishMany(
        topic,
        many(300).map((payload) => payload.padEnd(600, ".")),
      );
      await sink.reaches(300);
      const calls = wire.of("publish", name);
      const bytes = (call: WireCall): number => call.records.reduce((sum, record) => sum + (record.body?.length ?? 0), 0);
      check(Math.max(...calls.map((call) => call.records.length)) <= limits.maxRecords, "no call holds more records than maxRecords");
      check(
        calls.every((call) => call.records.length === 1 || bytes(call) <= limits.maxBytes),
        "no call of several records holds more than maxBytes",
      );
      check(widest(calls) <= limits.inFlight, `no more than inFlight calls at once: there were ${widest(calls)}`);
    },
  },
  {
    id: "flow/receive-limits",
    states: "Core keeps to the limits of receive: records asked for, calls at once.",
    async run(t) {
      const { topic, sink, wire, name } = await stage(t, {
        consume: { concurrency: 32 },
        tap: { narrow: (c) => ({ ...c, receive: { ...c.receive, maxRecords: Math.min(c.receive.maxRecords, 7) } }) },
      });
      await publishMany(topic, many(200));
      await sink.reaches(200);
      eachOnce(sink.payloads, many(200), "handled");
      const calls = wire.of("receive", name);
      check(Math.max(...calls.map((call) => call.max)) <= 7, "no receive asks for more than maxRecords");
      check(Math.min(...calls.map((call) => call.max)) >= 1, "no receive asks for nothing");
      check(
        widest(calls) <= t.capabilities.receive.concurrency,
        `no more than receive.concurrency calls at once: there were ${widest(calls)}`,
      );
    },
  },
  {
    id: "flow/prefetch-bound",
    states:
      "With handlers that hang and a large backlog, what is owned and unsettled stays within the credit that was asked for, and within hold.",
    requires: redelivers,
    async run(t) {
      const hold = gate();
      const { topic, sink, wire, name, subscription, broker } = await stage(t, { consume: { concurrency: 4 } }, () => hold.opened);
      await publishMany(
        topic,
        many(3_000).map((payload) => payload.padEnd(500, ".")),
      );
      await sink.reaches(4);
      await pass(400);
      const credit = defined(wire.of("subscribe", name)[0]?.request, "the subscribe request").credit;
      const owned = wire.of("receive", name).reduce((sum, call) => sum + call.received.length, 0);
      t.measure("prefetchWithConcurrency4", owned);
      check(owned <= credit, `owned ${owned}, credit ${credit}`);
      check(owned <= 1_000, `a member with 4 handlers that hang owns ${owned} of 3,000: it leaves work to others`);
      hold.open();
      await subscription.close();
      await broker.close();
    },
  },
  {
    id: "flow/pause-resume",
    states:
      "pause starts no handler, resume goes on: nothing is redelivered, nothing subscribed again, though the pause outlasts the lease.",
    async run(t) {
      const { topic, sink, subscription, wire, name } = await stage(t);
      await topic.publish("first");
      await sink.sees(["first"]);
      subscription.pause();
      equal(subscription.state.state, "paused", "state");
      await publishMany(topic, many(30));
      await pass(leases(t.capabilities) ? 1.3 * t.capabilities.lease.ms : 300);
      equal(sink.payloads, ["first"], "handled while paused");
      subscription.resume();
      await sink.sees(many(30), t.patience);
      await sink.rests();
      eachOnce(sink.payloads, ["first", ...many(30)], "handled");
      check(
        sink.facts.every((fact) => fact.attempt === 1),
        "nothing was delivered twice",
      );
      equal(wire.of("subscribe", name).length, 1, "driver.subscribe calls");
      equal(subscription.state.state, "running", "state after resume");
    },
  },
  {
    id: "flow/slow-handler-nothing-lost",
    states: "A handler far slower than the producer loses nothing and repeats nothing.",
    async run(t) {
      const { topic, sink } = await stage(t, { consume: { concurrency: 20 } }, () => pass(20));
      await publishMany(topic, many(1_500));
      await sink.reaches(1_500, 25_000);
      await sink.rests();
      eachOnce(sink.payloads, many(1_500), "handled");
    },
  },
  {
    id: "flow/memory",
    states:
      "With a handler 100 times slower than the producer, a consumer's memory stays flat: prefetch × size + 32 MiB above its start, with a backlog far above that; and nothing is lost.",
    requires: redelivers,
    needs: ["url"],
    weight: "heavy",
    limitMs: 150_000,
    async run(t) {
      // Large ones: it is the bytes that count, and some servers take a millisecond for each message.
      const messages = 5_000;
      const size = 16_000;
      const broker = await t.connect();
      const topic = open(broker, t.topic("memory"), { codec: "bytes" });
      await topic.createGroup("g");
      const payload = Buffer.alloc(size, 0xe9);
      const ids: string[] = [];
      for (let sent = 0; sent < messages; sent += 250) {
        const receipts = await topic.publishAll(
          many(250).map((_, n) => ({ payload, ...(t.capabilities.message.key ? { key: `k${n % 100}` } : {}) })),
        );
        ids.push(...receipts.map((receipt) => receipt.id));
      }
      const job: SlowConsumerJob = { url: t.url(), topic: topic.name, group: "g", concurrency: 8, handlerMs: 40, messages };
      const child = await startProgram("slow-consumer", [JSON.stringify(job)], ["--expose-gc"]);
      t.defer(() => child.kill());
      const line = await child.line(/^measured /, { timeoutMs: 30_000 });
      const { baseline, peak, handled } = JSON.parse(line.slice(9)) as { baseline: number; peak: number; handled: number };
      // 8 handlers with messages of 16 kB; core may hold as much again as it hands out in a second.
      const prefetch = 1_000;
      t.measure("slowConsumerMiB", Math.round(((peak - baseline) / MIB) * 10) / 10);
      check(handled < messages / 4, `the handler is slow: it handled ${handled} of ${messages} in 3 s`);
      between((peak - baseline) / MIB, -64, 32 + (prefetch * size) / MIB, "growth in MiB, with a backlog of 80 MB");
      await child.send("fast");
      const seen = JSON.parse((await child.line(/^seen /, { timeoutMs: 60_000 })).slice(5)) as string[];
      const repeated = eachAtLeastOnce(seen, ids, "handled in all");
      equal(repeated, 0, "handled twice");
      await until(() => child.exit !== undefined, "the child to end");
    },
  },
];
