import type { ConsumeOptions, Retry } from "brokerkit";
import { check, defined, eachOnce, equal, refuses } from "../assert.ts";
import {
  all,
  type Case,
  type Claim,
  hasBroadcast,
  hasGroups,
  hasInbox,
  hasKeys,
  hasMoreGroups,
  keepsDeadLetters,
  listsDeadLetters,
  redelivers,
} from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { rawMember, rawPublish, rawRecord } from "../raw.ts";
import { Sink, type SinkHandler } from "../sink.ts";
import { type Stage, stage } from "../stage.ts";
import { gate, now, pass, took, until } from "../wait.ts";

/** Retries at once, so that only what a case measures takes time. */
const quick: Retry = { backoffMs: { initial: 10, factor: 1, max: 10 }, jitter: "none" };
const consume = (o: ConsumeOptions): { readonly consume: object } => ({ consume: { retry: quick, ...o } });
const ordered: Claim = all(redelivers, hasKeys, (c) => c.keyOrder !== "none");

/** One message `x`, whose handler fails by `how` the first time: its runs. */
async function failsOnce(t: Context, how: SinkHandler, o: ConsumeOptions = {}): Promise<Stage> {
  const s = await stage(t, consume(o), async (message, fact) => {
    if (message.attempt === 1) await how(message, fact);
  });
  await s.topic.publish("x");
  await s.sink.reaches(2);
  await s.sink.rests();
  equal(
    s.sink.facts.map((fact) => [fact.payload, fact.attempt, fact.redelivered]),
    [
      ["x", 1, false],
      ["x", 2, true],
    ],
    "payload, attempt and redelivered of each run",
  );
  equal(s.sink.facts[1]?.id, s.sink.facts[0]?.id, "the id of both runs");
  return s;
}

export const nack: readonly Case[] = [
  {
    id: "nack/redelivered",
    states:
      "A nacked message is delivered again with attempt 2 and `redelivered: true`, under the same id, and then acknowledged for good.",
    requires: redelivers,
    async run(t) {
      const { broker, name, subscription } = await failsOnce(t, (message) => message.nack({ delayMs: 0 }));
      await subscription.flush();
      await broker.close();
      const again = new Sink();
      const topic = (await t.connect()).topic(name);
      await again.join(topic, t.way());
      await topic.publish("end");
      await again.sees(["end"], t.patience);
      equal(again.payloads, ["end"], "delivered after the second run returned");
    },
  },
  {
    id: "nack/rejecting-handler",
    states: "A handler that rejects is a failure: the message comes again.",
    async run(t) {
      await failsOnce(t, async () => {
        await pass(1);
        throw new Error("rejected");
      });
    },
  },
  {
    id: "nack/throwing-handler",
    states: "A handler that throws synchronously is a failure like any other, whatever it throws.",
    async run(t) {
      for (const thrown of [new Error("thrown"), undefined, null, "text"]) {
        const topic = (await t.connect()).topic(t.topic());
        const attempts: number[] = [];
        const handler = (message: { readonly attempt: number }): void => {
          attempts.push(message.attempt);
          // Applications throw anything.
          if (message.attempt === 1) throw thrown;
        };
        const way = { ...t.way(), retry: quick };
        if ("group" in way) await topic.subscribe(way, handler);
        else await topic.subscribe(way, handler);
        await topic.publish("x");
        await until(() => attempts.length >= 2, `a second run after throwing ${String(thrown)}`);
        equal(attempts, [1, 2], "attempts");
      }
    },
  },
  {
    id: "nack/hanging-handler",
    states:
      "A handler that never resolves fails at its timeoutMs: its signal aborts and the message is tried again; what it settles later is refused.",
    requires: redelivers,
    async run(t) {
      const never = gate();
      let aborted = 0;
      const { sink, topic } = await stage(t, consume({ timeoutMs: 200, order: "none" }), async (message) => {
        if (message.attempt > 1) return;
        message.signal.addEventListener("abort", () => {
          aborted = now();
        });
        await never.opened;
      });
      await topic.publish("x");
      await sink.reaches(2);
      const [first, second] = sink.facts;
      took(defined(first, "first run").started, 150, 2_000, "time until the signal aborted, with timeoutMs 200", aborted);
      equal([second?.attempt, second?.payload], [2, "x"], "the second run");
      const late = await defined(first, "first run")
        .delivery.ack()
        .then(
          () => "accepted",
          (error: { code?: string }) => error.code,
        );
      check(late === "ALREADY_SETTLED" || late === "LOST_OWNERSHIP", `an ack after the time-out is refused; it was ${late}`);
      never.open();
    },
  },
  {
    id: "nack/delay",
    states: "nack({ delayMs }) delivers not before its time, and soon after it.",
    requires: all(redelivers, (c) => c.supply.delayedNack !== "none"),
    async run(t) {
      const { sink } = await failsOnce(t, (message) => message.nack({ delayMs: 700 }));
      const nacked = defined(sink.facts[0]?.ended, "end of the first run");
      const again = defined(sink.facts[1], "second run").started;
      t.measure("nackDelay700Ms", Math.round(again - nacked));
      took(nacked, 690, 3_500, "time until the nacked message came again, with delayMs 700", again);
    },
    async twin(t) {
      if (!redelivers(t.capabilities)) return;
      let refused: unknown;
      const { sink, topic } = await stage(t, {}, async (message) => {
        const error = await refuses(() => message.nack({ delayMs: 700 }), "UNSUPPORTED", "nack with a delay");
        refused = error.code;
      });
      await topic.publish("x");
      await sink.reaches(1);
      await sink.rests();
      equal(refused, "UNSUPPORTED", "nack with a delay");
    },
  },
  {
    id: "nack/backoff",
    states: "Backoff grows by its factor up to its maximum: 100, 200, 300, 300 ms.",
    async run(t) {
      const retry: Retry = { attempts: 5, backoffMs: { initial: 100, factor: 2, max: 300 }, jitter: "none" };
      const { sink, topic } = await stage(t, consume({ retry, ...drop(t) }), () => {
        throw new Error("always");
      });
      await topic.publish("x");
      await sink.reaches(5);
      for (const [n, expected] of [100, 200, 300, 300].entries()) {
        const ended = defined(sink.facts[n]?.ended, "end of a run");
        took(ended, expected - 5, expected + 1_500, `backoff before attempt ${n + 2}`, defined(sink.facts[n + 1], "next run").started);
      }
    },
  },
  {
    id: "nack/jitter",
    states: "Full jitter spreads retries between nothing and the whole step.",
    async run(t) {
      const retry: Retry = { attempts: 2, backoffMs: { initial: 1_000, factor: 1, max: 1_000 }, jitter: "full" };
      const { sink, topic } = await stage(t, consume({ retry, concurrency: 40, order: "none", ...drop(t) }), (message) => {
        if (message.attempt === 1) throw new Error("once");
      });
      await publishMany(topic, many(40));
      await sink.reaches(80);
      const gaps = many(40).map((payload) => {
        const [first, second] = sink.of(payload);
        return defined(second, "second run").started - defined(first?.ended, "end of the first run");
      });
      check(Math.max(...gaps) <= 1_000 + 1_500, `no retry later than the step: ${Math.round(Math.max(...gaps))} ms`);
      check(
        gaps.filter((gap) => gap < 500).length >= 5 && gaps.filter((gap) => gap > 500).length >= 5,
        () => `retries are spread over the step: ${gaps.map(Math.round).join(", ")}`,
      );
    },
  },
  {
    id: "nack/retry-if",
    states: "retryIf false means no further run: the message is given up at once.",
    requires: keepsDeadLetters,
    async run(t) {
      const { sink, topic } = await stage(
        t,
        consume({ retry: { ...quick, attempts: 5, retryIf: (error) => (error as Error).message === "temporary" } }),
        (message) => {
          throw new Error(message.payload === "a" ? "permanent" : "temporary");
        },
      );
      await topic.publish("a");
      await topic.publish("b");
      await sink.reaches(6);
      if (listsDeadLetters(t.capabilities)) {
        const dead = topic.group("g").deadLetters;
        await until(async () => (await dead.count()) === 2, "both to be dead letters");
      }
      equal([sink.of("a").length, sink.of("b").length], [1, 5], "runs of the permanent and of the temporary failure");
    },
  },
  {
    id: "nack/key-order",
    states: "The order of a key holds across its failures: nothing newer of that key runs until the failing one is done.",
    requires: ordered,
    async run(t) {
      const { sink, topic } = await stage(
        t,
        consume({ concurrency: 8, retry: { ...quick, attempts: 5, backoffMs: { initial: 80, factor: 1, max: 80 } } }),
        (message) => {
          if (message.payload === "a-2" && message.attempt <= 3) throw new Error("fails three times");
        },
      );
      await publishMany(topic, many(6, "a"), () => "a");
      await sink.sees(many(6, "a"));
      await sink.rests();
      equal(sink.payloads, ["a-0", "a-1", "a-2", "a-2", "a-2", "a-2", "a-3", "a-4", "a-5"], "runs of one key, in order");
    },
  },
  {
    id: "nack/other-keys-go-on",
    states: "While one key waits for its retry, every other key goes on.",
    requires: ordered,
    async run(t) {
      const { sink, topic } = await stage(
        t,
        consume({ concurrency: 4, retry: { attempts: 3, jitter: "none", backoffMs: { initial: 1_200, factor: 1, max: 1_200 } } }),
        (message) => {
          if (message.payload === "bad" && message.attempt === 1) throw new Error("once");
        },
      );
      await topic.publish("bad", { key: "bad" });
      await sink.reaches(1);
      await publishMany(topic, many(200), (n) => `k${n % 20}`);
      await sink.sees(many(200));
      await until(() => sink.of("bad").length === 2, "the retry");
      const retried = defined(sink.of("bad")[1], "the retry").started;
      const meanwhile = sink.facts.filter((fact) => fact.payload !== "bad" && fact.started < retried).length;
      equal(meanwhile, 200, "messages of other keys that were handled before the retry");
    },
  },
  {
    id: "nack/requeue",
    states:
      "mode requeue sends a failed message to this group's inbox only: it blocks nothing, keeps its id under a new dedupe id, counts on, and no other group sees it again.",
    requires: hasInbox,
    async run(t) {
      const { sink, topic, wire } = await stage(t, consume({ retry: { ...quick, attempts: 4, mode: "requeue" } }), (message) => {
        if (message.payload === "bad" && message.attempt < 3) throw new Error("twice");
      });
      const other = new Sink();
      if (hasMoreGroups(t.capabilities)) await other.join(topic, t.way("other"));
      const receipt = await topic.publish("bad", hasKeys(t.capabilities) ? { key: "k" } : {});
      await topic.publish("good", hasKeys(t.capabilities) ? { key: "k" } : {});
      await until(() => sink.of("bad").length === 3, "the third run", t.patience);
      await sink.sees(["good"]);
      equal(
        sink.of("bad").map((fact) => [fact.attempt, fact.id, fact.key]),
        [1, 2, 3].map((attempt) => [attempt, receipt.id, hasKeys(t.capabilities) ? "k" : undefined]),
        "attempt, id and key of the runs",
      );
      const requeued = wire.of("publish").flatMap((call) => call.records.filter((record) => record.target.group === "g"));
      equal(requeued.length, 2, "records sent to the group's inbox");
      equal([...new Set(requeued.map((record) => record.id))], [receipt.id], "their id");
      equal(new Set([receipt.id, ...requeued.map((record) => record.dedupeId)]).size, 3, "different dedupe ids, the original's among them");
      if (!hasMoreGroups(t.capabilities)) return;
      await other.sees(["bad", "good"]);
      await topic.publish("end");
      await other.sees(["end"]);
      eachOnce(other.payloads, ["bad", "good", "end"], "what the other group saw");
    },
    async twin(t) {
      if (!hasGroups(t.capabilities)) return;
      const { broker, wire } = await t.record();
      await refuses(
        () => new Sink().join(broker.topic(t.topic()), { ...t.way(), retry: { mode: "requeue" } }),
        "UNSUPPORTED",
        "retry mode requeue",
      );
      equal(wire.of("subscribe").length, 0, "driver.subscribe calls");
    },
  },
  {
    id: "nack/requeue-delay",
    states: "A requeued message respects its backoff, and what is behind it goes on meanwhile.",
    requires: hasInbox,
    async run(t) {
      const { sink, topic } = await stage(
        t,
        consume({ retry: { attempts: 3, mode: "requeue", jitter: "none", backoffMs: { initial: 600, factor: 1, max: 600 } } }),
        (message) => {
          if (message.payload === "bad" && message.attempt === 1) throw new Error("once");
        },
      );
      await topic.publish("bad");
      await publishMany(topic, many(20));
      await sink.sees(many(20));
      await until(() => sink.of("bad").length === 2, "the second run", t.patience);
      const [first, second] = sink.of("bad");
      took(
        defined(first?.ended, "end of the first run"),
        590,
        4_000,
        "time until the requeued message came, with a backoff of 600 ms",
        defined(second, "second run").started,
      );
      check(
        sink.facts.filter((fact) => fact.payload !== "bad").every((fact) => fact.started < defined(second, "second run").started),
        "everything behind it was handled meanwhile",
      );
    },
  },
  {
    id: "nack/crash-counts",
    states: "What the record says is counted survives the member: deliveries, or failures as well.",
    requires: all(redelivers, (c) => c.redelivery.counted !== "none"),
    async run(t) {
      const name = t.topic();
      await (await t.connect()).topic(name).createGroup("g");
      const first = await t.driver();
      const one = await rawMember(first.driver, name, "g");
      await rawPublish(first.driver, [rawRecord(name, "1")]);
      await one.takes(1, 5_000);
      equal([one.got[0]?.deliveries, one.got[0]?.failures], [1, 0], "deliveries and failures of a first delivery");
      const failures = t.capabilities.redelivery.counted === "failures";
      if (failures)
        await defined(one.subscription.nack, "nack, since failures are counted").call(one.subscription, [
          { delivery: defined(one.got[0], "delivery"), delayMs: 0, failures: 3 },
        ]);
      await one.subscription.close();
      await first.driver.close();
      const two = await rawMember((await t.driver()).driver, name, "g");
      await two.takes(1, t.patience);
      check((two.got[0]?.deliveries ?? 0) >= 2, `deliveries are counted across members: ${two.got[0]?.deliveries}`);
      if (failures) equal(two.got[0]?.failures, 3, "failures recorded by nack");
    },
  },
  {
    id: "nack/attempts-survive",
    states: "`attempt` goes on from the deliveries that another member had, where the backend counts them.",
    requires: all(redelivers, (c) => c.redelivery.counted !== "none"),
    async run(t) {
      const never = gate();
      const { sink, topic, broker, name } = await stage(t, {}, () => never.opened);
      await topic.publish("x");
      await sink.reaches(1);
      await broker.close({ deadlineMs: 0 });
      const again = new Sink();
      await again.join((await t.connect()).topic(name), t.way());
      await again.reaches(1, t.patience);
      never.open();
      equal([sink.facts[0]?.attempt, again.facts[0]?.redelivered], [1, true], "the first run's attempt; the second delivery's redelivered");
      check((again.facts[0]?.attempt ?? 0) >= 2, `attempt of the second delivery: ${again.facts[0]?.attempt}`);
    },
  },
  {
    id: "nack/hand-back-is-no-failure",
    states: "The retry limit counts failures: a hand-back by close is none, so that all runs that are due still happen.",
    requires: keepsDeadLetters,
    async run(t) {
      const never = gate();
      const { sink, topic, broker, name } = await stage(t, consume({ retry: { ...quick, attempts: 2 } }), () => never.opened);
      await topic.publish("x");
      await sink.reaches(1);
      await broker.close({ deadlineMs: 0 });
      const again = new Sink();
      const second = (await t.connect()).topic(name);
      await again.join(second, { ...t.way(), retry: { ...quick, attempts: 2 } }, () => {
        throw new Error("always");
      });
      await again.reaches(2, t.patience);
      never.open();
      await second.publish("end");
      await again.sees(["end"]);
      equal(again.of("x").length, 2, "failing runs after the hand-back, with attempts: 2");
    },
  },
  {
    id: "nack/hold",
    states:
      "At the bound of what may be held for in-place retry, a message becomes a dead letter or is requeued, as `then` says; others go on.",
    requires: all(listsDeadLetters, hasInbox),
    async run(t) {
      for (const then of ["dead-letter", "requeue"] as const) {
        const retry: Retry = { attempts: 5, jitter: "none", backoffMs: { initial: 900, factor: 1, max: 900 }, then };
        const tap = { narrow: <C extends { readonly hold: object }>(c: C): C => ({ ...c, hold: { ...c.hold, maxMs: 500 } }) };
        const { sink, topic, wire } = await stage(t, { tap, ...consume({ retry, concurrency: 2 }) }, (message) => {
          if (message.payload === "bad" && message.attempt === 1) throw new Error("once");
        });
        await topic.publish("bad", hasKeys(t.capabilities) ? { key: "bad" } : {});
        await topic.publish("good", hasKeys(t.capabilities) ? { key: "good" } : {});
        await sink.sees(["good"]);
        const dead = topic.group("g").deadLetters;
        if (then === "dead-letter") {
          await until(async () => (await dead.count()) === 1, "the dead letter");
          equal(sink.of("bad").length, 1, "runs of what could not be held");
        } else {
          await until(() => sink.of("bad").length === 2, "the requeued message", t.patience);
          equal(
            wire.of("publish").filter((call) => call.records.some((record) => record.target.group === "g")).length,
            1,
            "records sent to the inbox",
          );
          equal(await dead.count(), 0, "dead letters");
        }
      }
    },
  },
  {
    id: "nack/broadcast",
    states:
      "Broadcast tries in place; after the last attempt the message is dropped with an event and an error log, and the next one comes.",
    requires: hasBroadcast,
    async run(t) {
      const errors: unknown[] = [];
      const logger = { info: () => {}, warn: () => {}, error: (...text: unknown[]) => void errors.push(text.join(" ")) };
      const broker = await t.connect({ logger });
      const name = t.topic();
      const events = t.events(name);
      const sink = new Sink();
      const topic = broker.topic(name);
      await sink.join(topic, { broadcast: true, retry: { ...quick, attempts: 3 } }, (message) => {
        if (message.payload === "bad") throw new Error("always");
      });
      await topic.publish("bad");
      await topic.publish("good");
      await sink.sees(["good"]);
      await until(() => events.some((event) => event.type === "dropped"), "an event that the message was dropped");
      equal(sink.of("bad").length, 3, "runs of the failing message");
      check(errors.length > 0, "an error is logged");
    },
  },
];

function drop(t: Context): ConsumeOptions {
  return redelivers(t.capabilities) ? { deadLetter: "drop" } : {};
}
