import { type Broker, isBrokerError } from "brokerkit";
import { check, defined, eachAtLeastOnce, eachOnce, equal, isError, outcome } from "../assert.ts";
import { all, type Case, hasKeys, leases, redelivers, replays, survivesKill } from "../case.ts";
import { type Context, many, publishMany } from "../context.ts";
import { type FaultProxy, startProxy } from "../faults/index.ts";
import { rawPublish, rawRecord } from "../raw.ts";
import { Sink } from "../sink.ts";
import type { OwnSite } from "../sites.ts";
import { open } from "../stage.ts";
import { Trial } from "../trial.ts";
import { now, pass, took, until, within } from "../wait.ts";

interface Proxied {
  readonly site: OwnSite;
  readonly proxy: FaultProxy;
}

/** A private server with a fault proxy in front: `site` is dialled through the proxy. */
async function proxied(t: Context, own?: OwnSite): Promise<Proxied & { readonly direct: OwnSite }> {
  const direct = own ?? (await t.own());
  const proxy = await startProxy({ host: direct.host, port: direct.port });
  t.defer(() => proxy.close());
  return { direct, proxy, site: { ...direct, host: proxy.host, port: proxy.port } };
}

const server = (site: OwnSite): NonNullable<OwnSite["broker"]> => defined(site.broker, "a server of this case's own");
/** The long schedule, for a run of its own. */
const chaos = process.env["BROKERKIT_CHAOS"] === "1";
/** A stop that outlasts what the backend gives a member to answer. */
const stopMs = (t: Context): number => (chaos ? 30_000 : 1.5 * (leases(t.capabilities) ? t.capabilities.lease.ms : 1_500));
/** Long enough for others to have taken what a member had. */
const frozenMs = (t: Context): number => t.absenceMs + Math.min(t.absenceMs, 3_000);
/** What is claimed: work resumes so long after the backend's return. */
const RESUME_MS = 10_000;
/** How long is waited for what may have to wait for others' leases or sessions first. */
const waitMs = (t: Context): number => RESUME_MS + 5_000 + 3 * t.absenceMs;

/** Everything readable on the topic, by a new group or a replay. */
async function stored(t: Context, site: OwnSite, name: string, group: string | undefined): Promise<Sink> {
  const topic = open(await t.connect({ site }), name);
  const sink = new Sink();
  if (group !== undefined) await sink.join(topic, t.way(group));
  else for await (const message of topic.replay({ from: "earliest" })) sink.note(message as never, "replay");
  return sink;
}

function deep(states: string, id: string, one: Omit<Case, "id" | "states" | "weight">): Case {
  return { id, states, weight: "heavy", limitMs: chaos ? 300_000 : 180_000, ...one };
}

export const faults: readonly Case[] = [
  deep("What a publish confirmed is there after a kill -9 of the server right then.", "publish/confirm-is-stored", {
    requires: all(redelivers, survivesKill),
    needs: ["server"],
    async run(t) {
      const site = await t.own();
      const broker = await t.connect({ site });
      const topic = open(broker, t.topic());
      await topic.createGroup("g");
      const confirmed: string[] = [];
      const publishing = many(2_000).map(async (payload) => {
        await topic.publish(payload, { id: payload, timeoutMs: 20_000 });
        confirmed.push(payload);
      });
      for (const promise of publishing) promise.catch(() => {});
      await until(() => confirmed.length >= 300, "300 confirmed publishes");
      const before = [...confirmed];
      await server(site).kill();
      await server(site).restart();
      const sink = await stored(t, site, topic.name, "g");
      await sink.sees(before, t.patience);
      await Promise.allSettled(publishing);
      await sink.sees([...confirmed], t.patience);
      equal(sink.facts.filter((fact) => fact.id !== fact.payload).length, 0, "messages whose id is not the published one");
    },
  }),
  deep("What was acknowledged and flushed stays acknowledged after a kill -9 of the server.", "ack/final-after-restart", {
    requires: all(redelivers, survivesKill),
    needs: ["server"],
    async run(t) {
      const site = await t.own();
      const broker = await t.connect({ site });
      const topic = open(broker, t.topic());
      const sink = new Sink();
      const subscription = await sink.join(topic, { ...t.way(), concurrency: 8 });
      await publishMany(topic, many(100));
      await sink.reaches(100);
      await subscription.flush();
      await server(site).kill();
      await server(site).restart();
      await topic.publish("end", { timeoutMs: 20_000 });
      await sink.sees(["end"], t.patience);
      await sink.listens(leases(t.capabilities) ? 1.2 * t.capabilities.lease.ms : 300);
      eachOnce(sink.payloads, [...many(100), "end"], "delivered before and after the kill");
    },
  }),
  deep(
    "A publish whose answer is cut off is in doubt: it resolves after a retry of the same act, or rejects with `inDoubt: true`; every stored copy has its id.",
    "faults/in-doubt",
    {
      needs: ["server"],
      requires: redelivers,
      async run(t) {
        const own = await t.own();
        for (const at of ["answered", "before"] as const) {
          const { site, proxy, direct } = await proxied(t, own);
          const topic = open(await t.connect({ site }), t.topic());
          await topic.createGroup("g");
          await topic.publish("first");
          const marker = `marker-${at}-${Date.now()}`;
          const cutting = proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes(marker), at });
          const verdict = await within(outcome(topic.publish(marker, { id: marker, timeoutMs: 8_000 })), 20_000, `publish, cut ${at}`);
          equal(await within(cutting, 1_000, "the cut"), true, "the link was cut at the publish");
          if (!verdict.ok) {
            const error = isError(verdict.error, ["UNAVAILABLE", "TIMEOUT"], `publish, cut ${at}`);
            // Bytes cut off in mid-write may have left in part, so only a stored message proves anything.
            if (at === "answered") equal(error.inDoubt, true, "inDoubt of a publish that the server has stored");
          }
          await topic.publish("last", { timeoutMs: 10_000 });
          const sink = await stored(t, direct, topic.name, "g");
          await sink.sees(["last"], t.patience);
          const copies = sink.of(marker);
          if (at === "answered" || verdict.ok) check(copies.length >= 1, "the message is stored");
          if (verdict.ok && t.capabilities.dedupe.windowMs > 0) equal(copies.length, 1, "copies inside the dedupe window");
          check(
            copies.every((copy) => copy.id === marker),
            "every copy has the message's id",
          );
        }
      },
    },
  ),
  deep(
    "Cuts and resets of every connection under load: nothing confirmed is lost, order holds, duplicates stay within their bound, work resumes.",
    "faults/cuts-under-load",
    {
      needs: ["server"],
      requires: redelivers,
      async run(t) {
        const { site, proxy } = await proxied(t);
        const trial = new Trial(t, site);
        const consumer = await trial.consumer();
        // Beside the group, a reader that shares with nobody and misses nothing either.
        if (t.capabilities.delivery.broadcast === "at-least-once")
          await trial.consumer({ group: undefined, concurrency: 50, handlerMs: 0 });
        const producer = await trial.producer();
        for (let round = 0; round < 6; round += 1) {
          const goal = producer.confirmed + 300;
          await until(
            () => producer.confirmed >= goal && consumer.acknowledged >= 200 * round,
            () => `progress in round ${round}: ${producer.confirmed} confirmed, ${consumer.acknowledged} acknowledged`,
            waitMs(t),
          );
          trial.interrupt("broker")();
          if (round % 2 === 0) proxy.cut();
          else proxy.reset();
        }
        const verdict = await trial.judge({ recoveryMs: RESUME_MS });
        t.measure("cutsRecoveryMs", Math.round(verdict.recoveryMs ?? 0));
        t.measure("cutsDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "A half-open or deaf link hangs no promise: publishes reject at their deadline, in doubt, and everything goes on once the link is mended.",
    "faults/half-open",
    {
      needs: ["server"],
      async run(t) {
        const { site, proxy } = await proxied(t);
        for (const direction of [undefined, "down"] as const) {
          const broker = await t.connect({ site });
          const topic = open(broker, t.topic());
          const sink = new Sink();
          await sink.join(topic, t.way());
          await topic.publish("before");
          await sink.sees(["before"]);
          proxy.drop(direction);
          const began = now();
          const verdict = await within(outcome(topic.publish("lost?", { timeoutMs: 1_500 })), 6_000, "publish on a half-open link");
          check(!verdict.ok, "a publish that nobody answers rejects");
          equal(isError(verdict.error, ["TIMEOUT", "UNAVAILABLE"], "publish on a half-open link").inDoubt, true, "inDoubt");
          took(began, 1_000, 4_000, "time until the rejection, with timeoutMs 1,500");
          await proxy.heal();
          await within(topic.publish("after", { timeoutMs: 20_000 }), 25_000, "a publish after the link was mended");
          if (redelivers(t.capabilities)) await sink.sees(["after"], waitMs(t));
          await within(broker.close({ deadlineMs: 1_000 }), 10_000, "close after a half-open link");
        }
      },
    },
  ),
  deep("close is bounded on a half-open link too.", "faults/close-half-open", {
    needs: ["server"],
    async run(t) {
      const { site, proxy } = await proxied(t);
      const broker = await t.connect({ site });
      const topic = open(broker, t.topic());
      const sink = new Sink();
      await sink.join(topic, t.way());
      await topic.publish("x");
      await sink.sees(["x"]);
      proxy.drop();
      const pending = outcome(topic.publish("y", { timeoutMs: 60_000 }));
      await within(broker.close({ deadlineMs: 500 }), 12_000, "close on a half-open link");
      const verdict = await within(pending, 2_000, "the publish under way when the broker closed");
      check(!verdict.ok, "a publish that was never confirmed rejects when the broker closes");
    },
  }),
  deep("Latency, a thin link and one-byte slices change nothing but time.", "faults/slow-links", {
    needs: ["server"],
    async run(t) {
      const own = await t.own();
      for (const kind of ["latency", "slices", "bandwidth"] as const) {
        const { site, proxy } = await proxied(t, own);
        const topic = open(await t.connect({ site }), t.topic());
        const sink = new Sink();
        await sink.join(topic, { ...t.way(), concurrency: 4 });
        if (kind === "latency") proxy.latency(60);
        if (kind === "slices") proxy.slice(1);
        // What a read brings has to come within a lease, which is short here.
        if (kind === "bandwidth") proxy.bandwidth(4_096);
        const count = kind === "bandwidth" ? 3 : 30;
        await within(publishMany(topic, many(count)), 25_000, `publishes over a link with ${kind}`);
        await sink.reaches(count, 25_000);
        // Time-outs on the way may repeat; here everything fits well within them.
        eachOnce(sink.payloads, many(count), `delivered over a link with ${kind}`);
        await proxy.heal();
      }
    },
  }),
  deep(
    "A server that stands still for one and a half leases loses nothing: what was under way settles, in doubt or not, and work resumes.",
    "faults/server-stopped",
    {
      needs: ["server"],
      requires: redelivers,
      async run(t) {
        const site = await t.own();
        const trial = new Trial(t, site);
        const consumer = await trial.consumer();
        const producer = await trial.producer({ timeoutMs: 20_000 });
        await until(() => producer.confirmed >= 500 && consumer.acknowledged >= 200, "load");
        const over = trial.interrupt("broker");
        await server(site).stop();
        await pass(stopMs(t));
        await server(site).cont();
        over();
        const goal = producer.confirmed + 500;
        await until(() => producer.confirmed >= goal, "publishes to resume", waitMs(t));
        const verdict = await trial.judge({ recoveryMs: RESUME_MS });
        t.measure("stopRecoveryMs", Math.round(verdict.recoveryMs ?? 0));
      },
    },
  ),
  deep(
    "The server is killed (SIGKILL) and restarted under load: nothing confirmed is lost, nothing comes that was not published, duplicates stay within their bound, order holds, work resumes within 10 s.",
    "faults/server-killed",
    {
      // Some servers need half a minute to start on a machine that does much else, and some are started six times.
      limitMs: 300_000,
      needs: ["server"],
      requires: all(redelivers, survivesKill),
      async run(t) {
        const site = await t.own();
        const trial = new Trial(t, site);
        const consumer = await trial.consumer({ concurrency: 400, handlerMs: 100 });
        const producer = await trial.producer({ perSecond: 3_000, window: 100, keys: 1_000 });
        const kills = chaos ? 5 : (t.harness.kills ?? 1);
        const unsettled: string[] = [];
        for (let kill = 1; kill <= kills; kill += 1) {
          await until(
            () => consumer.unsettled >= 110 && consumer.acknowledged >= 1_000 * (kill - 1) + 200,
            () =>
              `load before kill ${kill}: ${producer.unsettled} publishes and ${consumer.unsettled} deliveries unsettled, ${producer.confirmed} confirmed, ${consumer.acknowledged} acknowledged`,
            waitMs(t),
          );
          producer.burst(400);
          await until(() => producer.unsettled >= 100 && consumer.unsettled >= 100, "100 publishes and 100 deliveries unsettled", 2_000);
          const over = trial.interrupt("broker");
          const died = server(site).kill();
          unsettled.push(`${producer.unsettled}/${consumer.unsettled}`);
          check(
            producer.unsettled >= 100 && consumer.unsettled >= 100,
            `at kill ${kill}: ${producer.unsettled} publishes and ${consumer.unsettled} deliveries unsettled`,
          );
          await died;
          await server(site).restart();
          over();
        }
        await until(
          () => producer.confirmed >= 5_500,
          () => `5,500 confirmed; ${producer.confirmed} are`,
          20_000,
        );
        const verdict = await trial.judge({ recoveryMs: RESUME_MS });
        check(verdict.published.acknowledged >= 5_000, `confirmed: ${verdict.published.acknowledged}`);
        t.measure("kills", kills);
        t.measure("killUnsettled", unsettled.join(" "));
        t.measure("killRecoveryMs", Math.round(verdict.recoveryMs ?? 0));
        t.measure("killLost", verdict.lost.count);
        t.measure("killDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "Writers and readers of an embedded backend are killed (SIGKILL) five times under load: nothing confirmed is lost, and the rest goes on.",
    "faults/processes-killed",
    {
      needs: ["url", "files"],
      requires: all(redelivers, survivesKill),
      async run(t) {
        const trial = new Trial(t, await t.own());
        // A member that stays, so that the group's start is durable before anything is published.
        const stays = await trial.consumer({ concurrency: 20 });
        let confirmed = 0;
        for (let kill = 1; kill <= 5; kill += 1) {
          const worker = await trial.worker({ produce: { perSecond: 3_000, window: 100, keys: 1_000 }, consume: {} });
          await worker.reaches((counts) => counts.confirmed >= 1_000 && counts.unsettled >= 100, `load before kill ${kill}`, 20_000);
          await worker.process.send("hurry");
          const busy = "hundreds of publishes under way, and deliveries";
          await worker.reaches(({ publishing, unsettled }) => publishing >= 300 && unsettled >= 50, busy, 20_000);
          trial.interrupt("process", worker.name);
          await worker.process.kill();
          confirmed += worker.counts.confirmed;
        }
        check(confirmed >= 5_000, `confirmed: ${confirmed}`);
        stays.handlerMs = 0;
        stays.subscription.setConcurrency(200);
        const verdict = await trial.judge({ recoveryMs: RESUME_MS });
        t.measure("kills", 5);
        t.measure("killLost", verdict.lost.count);
        t.measure("killRecoveryMs", Math.round(verdict.recoveryMs ?? 0));
        t.measure("killDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "A member killed (SIGKILL) in the middle of its work, and another while it drains: what they held is handled by those that stay.",
    "faults/consumer-killed",
    {
      needs: ["url"],
      requires: redelivers,
      async run(t) {
        const trial = new Trial(t, await t.own(), { members: true });
        const stays = await trial.consumer({ concurrency: 50 });
        const producer = await trial.producer({ perSecond: 1_500 });
        for (const draining of [false, true]) {
          const worker = await trial.worker({ consume: { concurrency: 100, handlerMs: 100 } });
          await worker.reaches((counts) => counts.received >= 100 && counts.unsettled >= 20, "the member to be at work", 20_000);
          if (draining) {
            await worker.process.send("stop");
            await pass(20);
          }
          trial.interrupt("process", worker.name);
          await worker.process.kill();
          const goal = stays.acknowledged + 200;
          await until(() => stays.acknowledged >= goal, "the member that stays to go on", waitMs(t));
        }
        check(producer.confirmed > 0, "messages were published");
        const verdict = await trial.judge({ recoveryMs: RESUME_MS });
        t.measure("consumerKilledDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "A member frozen past its lease or session and thawed again takes nothing back: its late settles and extensions change nothing, and nothing is lost.",
    "faults/zombie",
    {
      needs: ["url"],
      requires: redelivers,
      async run(t) {
        const trial = new Trial(t, await t.own(), { members: true });
        const worker = await trial.worker({ consume: { concurrency: 50, handlerMs: 60 } });
        await trial.consumer({ concurrency: 50 });
        const producer = await trial.producer({ perSecond: 800 });
        await worker.reaches((counts) => counts.received >= 100 && counts.unsettled >= 10, "the member to be at work", 20_000);
        const over = trial.interrupt("process", worker.name);
        await worker.process.freeze();
        await pass(frozenMs(t));
        await worker.process.thaw();
        over();
        const before = worker.counts.received;
        await worker.reaches((counts) => counts.received > before + 50, "the thawed member to work again", waitMs(t));
        check(producer.inDoubt === 0, "no publish was touched");
        // What reached the frozen member's buffer goes to others late: within a process that is out of order, members it must not be.
        const verdict = await trial.judge(t.capabilities.keyOrder === "members" ? {} : { order: "none" });
        t.measure("zombieDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "Of four members in processes of their own one is killed (SIGKILL) and one frozen past its lease and thawed: a key is never handled by two at once, each key keeps its order over all members, and nothing is lost.",
    "faults/four-members",
    {
      needs: ["url"],
      // A log's own members live by its sessions: the cases around this one have them.
      requires: all(redelivers, hasKeys, (c) => c.keyOrder === "members" && c.settle.unit !== "prefix"),
      async run(t) {
        const trial = new Trial(t, await t.own(), { members: true });
        const workers = await Promise.all([0, 1, 2, 3].map(() => trial.worker({ consume: { concurrency: 30, handlerMs: 20 } })));
        const [killed, frozen, ...others] = workers as [(typeof workers)[0], (typeof workers)[0], ...typeof workers];
        await trial.producer({ perSecond: 600, keys: 200 });
        for (const worker of workers) await worker.reaches((counts) => counts.acknowledged >= 20, `${worker.name} at work`, 30_000);
        trial.interrupt("process", killed.name);
        await killed.process.kill();
        const over = trial.interrupt("process", frozen.name);
        await frozen.process.freeze();
        await pass(frozenMs(t));
        await frozen.process.thaw();
        over();
        const before = workers.map((worker) => worker.counts.acknowledged);
        for (const [n, worker] of [...others, frozen].entries()) {
          const goal = (before[workers.indexOf(worker)] ?? 0) + 50;
          await worker.reaches((counts) => counts.acknowledged >= goal, `member ${n} to have a share again`, waitMs(t));
        }
        const verdict = await trial.judge();
        t.measure("fourMembersDuplicates", `${verdict.duplicates.count} of at most ${verdict.duplicates.bound}`);
      },
    },
  ),
  deep(
    "Members come and go (1 → 4 → 1) with work in flight: each message is handled, order holds as declared, duplicates stay within their bound.",
    "faults/members-come-and-go",
    {
      requires: all(redelivers, hasKeys),
      async run(t) {
        const trial = new Trial(t, await t.own(), { members: true });
        const first = await trial.consumer({ concurrency: 20, handlerMs: 10 });
        const producer = await trial.producer({ perSecond: 1_500 });
        await until(() => first.acknowledged >= 200, "the first member at work");
        const others = [];
        for (let n = 0; n < 3; n += 1) {
          others.push(await trial.consumer({ concurrency: 20, handlerMs: 10 }));
          await pass(150);
        }
        for (const other of others) {
          const goal = producer.confirmed + 300;
          await until(() => producer.confirmed >= goal, "load");
          await other.close();
        }
        const verdict = await trial.judge();
        equal(verdict.duplicates.count <= verdict.duplicates.bound, true, "duplicates within their bound");
      },
    },
  ),
  deep(
    "While the server is away a driver's publish answers at once that nothing was sent: nothing queues offline, and nothing of it is stored later.",
    "faults/nothing-queued",
    {
      needs: ["server"],
      requires: redelivers,
      async run(t) {
        const { site, proxy, direct } = await proxied(t);
        const name = t.topic();
        await open(await t.connect({ site: direct }), name).createGroup("g");
        const { driver } = await t.driver(site);
        await rawPublish(driver, [rawRecord(name, '"before"')]);
        proxy.refuse();
        proxy.cut();
        let [result] = await driver.publish([rawRecord(name, '"away"')], AbortSignal.timeout(3_000));
        // The first call may meet the cut itself; from then on the driver knows.
        if (result?.ok === false && result.sent === "maybe")
          [result] = await driver.publish([rawRecord(name, '"away"')], AbortSignal.timeout(3_000));
        const began = now();
        for (const payload of many(20, "away")) {
          [result] = await driver.publish([rawRecord(name, JSON.stringify(payload))], AbortSignal.timeout(3_000));
          check(result?.ok === false && result.sent === "no", `a publish while down answers sent "no": ${JSON.stringify(result)}`);
        }
        took(began, 0, 3_000, "time for twenty publishes while down");
        await proxy.heal();
        await driver.connect(AbortSignal.timeout(10_000));
        await rawPublish(driver, [rawRecord(name, '"after"')]);
        const sink = await stored(t, direct, name, "g");
        await sink.sees(["before", "after"], t.patience);
        equal(
          sink.payloads.filter((payload) => payload.startsWith("away-")),
          [],
          "stored of what was not sent",
        );
      },
    },
  ),
  deep(
    "A hundred clients whose links break at once are all back within ten seconds, and not all in the same moment.",
    "faults/reconnect-storm",
    {
      needs: ["server"],
      async run(t) {
        const { site, proxy } = await proxied(t);
        const name = t.topic();
        const brokers: Broker[] = [];
        while (brokers.length < 100) brokers.push(...(await Promise.all(Array.from({ length: 10 }, () => t.connect({ site })))));
        await Promise.all(brokers.map((broker) => broker.topic(name).publish("before")));
        proxy.refuse();
        proxy.reset();
        await until(
          () => brokers.filter((broker) => broker.health().connection !== "connected").length >= 90,
          "the clients to notice",
          20_000,
        );
        await pass(1_000);
        await proxy.heal();
        const began = now();
        await Promise.all(
          brokers.map((broker, n) =>
            within(broker.topic(name).publish(`after-${n}`, { timeoutMs: 15_000 }), 16_000, `client ${n} after the storm`),
          ),
        );
        t.measure("storm100Ms", Math.round(now() - began));
        took(began, 0, RESUME_MS, "time until every client was back");
      },
    },
  ),
  deep(
    "Where broadcast is at-most-once, what a cut loses is counted: the SDK's count is the checker's, or it says that it can't know.",
    "faults/losses-counted",
    {
      needs: ["server"],
      requires: (c) => c.delivery.broadcast === "at-most-once",
      async run(t) {
        const { site, proxy, direct } = await proxied(t);
        const trial = new Trial(t, site);
        const consumer = await trial.consumer({ group: undefined, concurrency: 50, handlerMs: 0 });
        const producer = await trial.producer({ connect: { site: direct }, perSecond: 1_000, window: 10 });
        for (let round = 0; round < 3; round += 1) {
          const goal = consumer.received + 200;
          await until(() => consumer.received >= goal, "messages to come", waitMs(t));
          const over = trial.interrupt("broker");
          if (round < 2) proxy.reset();
          else {
            await server(direct).kill();
            await server(direct).restart();
          }
          over();
        }
        const goal = consumer.received + 200;
        await until(() => consumer.received >= goal, "messages to come after the last cut", waitMs(t));
        await producer.stop();
        const last = producer.confirmedIds.at(-1);
        await until(() => last !== undefined && consumer.acknowledgedIds.has(last), "the last message");
        // Before the last there may be some to come: a backlog, and what a cut took along until its lease is over.
        for (let before = -1; before !== consumer.received; ) {
          before = consumer.received;
          await pass(frozenMs(t));
        }
        // Groups of the same backend may lose nothing; this reader may, so there is nothing to wait for.
        const verdict = await trial.judge({ duplicates: "any", atLeastOnce: false });
        t.measure("lostCounted", verdict.lost.reported);
        t.measure("lostTruly", verdict.lost.count);
      },
    },
  ),
  deep(
    "A replay whose link is cut goes on without a gap or fails typed; it never ends early as if it were complete.",
    "faults/replay-cut",
    {
      needs: ["server"],
      requires: replays,
      async run(t) {
        const { site, proxy, direct } = await proxied(t);
        const name = t.topic();
        const publisher = open(await t.connect({ site: direct }), name);
        await publishMany(publisher, many(3_000), hasKeys(t.capabilities) ? (): string => "k" : undefined);
        const topic = open(await t.connect({ site }), name);
        const seen: string[] = [];
        const verdict = await within(
          outcome(
            (async (): Promise<void> => {
              for await (const message of topic.replay({ from: "earliest" })) {
                seen.push(String(message.payload));
                if (seen.length === 500) proxy.reset();
                if (seen.length % 100 === 0) await pass(5);
              }
            })(),
          ),
          30_000,
          "a replay over a cut link",
        );
        if (verdict.ok) equal(seen.join(), many(3_000).join(), "replayed over a cut");
        else {
          check(isBrokerError(verdict.error), "a replay that can't go on fails typed");
          equal(seen, many(seen.length), "replayed before the failure");
        }
      },
    },
  ),
  deep(
    "Groups go on through a restart of the server that was announced to nobody, and lag tells the truth afterwards.",
    "faults/restart-idle",
    {
      needs: ["server"],
      requires: all(redelivers, survivesKill),
      async run(t) {
        const site = await t.own();
        const topic = open(await t.connect({ site }), t.topic());
        const sink = new Sink();
        await sink.join(topic, t.way());
        await topic.publish("before");
        await sink.sees(["before"]);
        await server(site).restart();
        await within(topic.publish("after", { timeoutMs: 15_000 }), 16_000, "a publish after the restart");
        await sink.sees(["after"], waitMs(t));
        eachAtLeastOnce(sink.payloads, ["before", "after"], "delivered");
        if (t.capabilities.lag.count !== "none")
          await until(async () => ((await topic.group("g").lag()).messages ?? 0) === 0, "lag 0", t.patience);
      },
    },
  ),
];
