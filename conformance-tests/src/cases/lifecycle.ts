import { type Broker, createBroker } from "brokerkit";
import {
  type Subscription as DriverSubscription,
  driverError,
  type PublishResult,
  type Shard,
  type SubscribeRequest,
} from "brokerkit/driver";
import { check, defined, eachAtLeastOnce, eachOnce, equal, isError, outcome, refuses, rejects } from "../assert.ts";
import { type Case, hasKeys, redelivers, replays } from "../case.ts";
import { type ConnectOptions, type Context, many, publishMany } from "../context.ts";
import type { Tap } from "../recording.ts";
import { Sink } from "../sink.ts";
import { open, stage } from "../stage.ts";
import { type Gate, gate, now, pass, until, within } from "../wait.ts";

const cut = (): unknown => driverError("UNAVAILABLE", "The link was cut for the test.");

/** A link that can be cut and mended under any driver: while down, connects and publishes fail and readers lose what they own. */
class Link {
  down = false;
  connects = 0;
  readonly #open = new Map<DriverSubscription, { readonly request: SubscribeRequest; readonly shards: Set<Shard> }>();
  #cut = gate();

  readonly tap: Tap = {
    connect: async (next) => {
      this.connects += 1;
      if (this.down) throw cut();
      return await next();
    },
    publish: async (records, next) =>
      this.down ? records.map((): PublishResult => ({ ok: false, error: cut(), sent: "no" })) : await next(records),
    subscribe: async (request, next) => {
      if (this.down) throw cut();
      const subscription = await next(request);
      const shards = new Set<Shard>();
      this.#open.set(subscription, { request, shards });
      const receive = subscription.receive.bind(subscription);
      const life = this.#cut;
      return Object.assign(Object.create(subscription) as DriverSubscription, {
        receive: async (max: number, waitMs: number, signal: AbortSignal) => {
          if (life !== this.#cut) throw cut();
          const quit = new AbortController();
          const merged = AbortSignal.any([signal, quit.signal]);
          void life.opened.then(() => quit.abort());
          const got = await receive(max, waitMs, merged);
          for (const delivery of got) shards.add(delivery.shard);
          if (!quit.signal.aborted) return got;
          for (const shard of shards) request.events.lost(shard, "the link was cut");
          throw cut();
        },
        ack: bound(subscription, "ack", life),
        nack: subscription.nack && bound(subscription, "nack", life),
        extend: subscription.extend && bound(subscription, "extend", life),
        flush: () => subscription.flush(),
        close: () => subscription.close(),
      });
    },
  };

  /** Cuts it: what was open is gone for good, as a broken connection is. */
  async cut(): Promise<void> {
    this.down = true;
    const before = this.#cut;
    this.#cut = gate();
    before.open();
    await pass(20);
    // A driver says so when its link breaks, whether or not core waits in a receive at that moment.
    for (const { request, shards } of this.#open.values()) {
      for (const shard of shards) request.events.lost(shard, "the link was cut");
      shards.clear();
    }
    for (const subscription of this.#open.keys()) await subscription.close();
    this.#open.clear();
  }

  mend(): void {
    this.down = false;
  }
}

/** The member, answering "lost" once the link is cut: what is settled then changes nothing. */
function bound(
  subscription: DriverSubscription,
  member: "ack" | "nack" | "extend",
  life: Gate,
): (...args: readonly unknown[]) => Promise<unknown> {
  let over = false;
  void life.opened.then(() => {
    over = true;
  });
  return async (...args) => {
    if (over) return (args[0] as readonly unknown[]).map(() => "lost");
    return await (Reflect.get(subscription, member) as (...those: readonly unknown[]) => Promise<unknown>).apply(subscription, [...args]);
  };
}

/** Publish, subscribe and replay as calls that a state is tried on. */
function verbs(t: Context, broker: Broker, name: string): Readonly<Record<string, () => Promise<unknown>>> {
  const topic = (): ReturnType<typeof open> => open(broker, name);
  return {
    publish: () => topic().publish("x"),
    subscribe: () => new Sink().join(topic(), t.way()),
    ...(replays(t.capabilities)
      ? {
          replay: async (): Promise<void> => {
            for await (const _ of topic().replay({ from: "earliest" })) break;
          },
        }
      : {}),
  };
}

async function worksWhen(
  t: Context,
  o: ConnectOptions,
  prepare: (broker: Broker, started: () => void) => Promise<void> | void,
): Promise<void> {
  for (const verb of Object.keys(verbs(t, await t.connect(), t.topic()))) {
    const { broker } = t.lazy(o);
    const name = t.topic();
    const call = defined(verbs(t, broker, name)[verb], verb);
    let running: Promise<unknown> | undefined;
    await prepare(broker, () => {
      running ??= call();
    });
    running ??= call();
    await within(running, 15_000, verb);
  }
}

async function refusedWhen(
  t: Context,
  prepare: (broker: Broker, name: string) => Promise<void>,
  refused: readonly string[],
): Promise<void> {
  const { broker, wire } = await t.record();
  const name = t.topic();
  await prepare(broker, name);
  for (const [verb, call] of Object.entries(verbs(t, broker, name))) {
    const before = wire.of(verb).length;
    if (refused.includes(verb)) {
      await refuses(call, "CLOSED", verb);
      equal(wire.of(verb).length, before, `driver.${verb} calls`);
      continue;
    }
    const verdict = await within(outcome(call()), 5_000, verb);
    if (!verdict.ok) isError(verdict.error, ["CLOSED"], verb);
  }
}

export const lifecycle: readonly Case[] = [
  {
    id: "lifecycle/reconnect",
    states: "A cut link is mended by core: subscriptions and publishes go on, nothing confirmed is lost, and health says what happens.",
    requires: redelivers,
    async run(t) {
      const link = new Link();
      const { broker, topic, sink, subscription } = await stage(t, { tap: link.tap, consume: { concurrency: 4 } });
      await publishMany(topic, many(50));
      await sink.sees(many(50));
      equal([broker.health().connection, broker.health().ready], ["connected", true], "health while connected");
      await link.cut();
      const during = publishMany(topic, many(50, "during"));
      await until(() => broker.health().connection === "reconnecting", "health to say reconnecting");
      equal([broker.health().ready, subscription.state.state], [false, "reconnecting"], "ready, and the subscription's state, while down");
      await pass(200);
      link.mend();
      const mended = now();
      await within(during, 15_000, "publishes made while the link was down");
      await topic.publish("after");
      await sink.sees([...many(50, "during"), "after"], t.patience);
      t.measure("resumedAfterMs", Math.round(now() - mended));
      eachAtLeastOnce(sink.payloads, [...many(50), ...many(50, "during"), "after"], "over a cut link");
      await until(() => broker.health().connection === "connected" && subscription.state.state === "running", "health to say connected");
      check(link.connects >= 2, "core connected again");
    },
  },
  {
    id: "lifecycle/reconnect-unsettled",
    states: "What was delivered and unsettled when the link was cut is delivered again: no reconnect drops it.",
    requires: redelivers,
    async run(t) {
      const link = new Link();
      const hold = gate();
      const { topic, sink } = await stage(t, { tap: link.tap, consume: { concurrency: 4 } }, () => hold.opened);
      await publishMany(topic, many(20));
      await sink.reaches(4);
      await link.cut();
      await until(() => sink.facts[0]?.delivery.signal.aborted === true, "running signals to abort");
      const before = sink.facts.length;
      link.mend();
      hold.open();
      await until(
        () => new Set(sink.facts.slice(before).map((fact) => fact.payload)).size >= 20,
        "everything unsettled to come again",
        t.patience,
      );
      eachAtLeastOnce(sink.payloads.slice(before), many(20), "delivered after the cut");
    },
  },
  {
    id: "lifecycle/reconnect-broadcast",
    states:
      "A broadcast subscriber goes on after a cut link; where broadcast is at-least-once it misses nothing, elsewhere what it missed is reported as a loss or known to be none.",
    requires: (c) => c.delivery.broadcast !== "none",
    async run(t) {
      const link = new Link();
      const broker = await t.connect({ tap: link.tap });
      const name = t.topic();
      const sink = new Sink();
      await sink.join(broker.topic(name), { broadcast: true, onDataLoss: "skip" });
      const publisher = (await t.connect()).topic(name);
      await publisher.publish("before");
      await sink.sees(["before"]);
      await link.cut();
      await publishMany(publisher, many(10, "missed"));
      link.mend();
      await until(() => broker.health().ready, "the reader to be back", 15_000);
      await publishMany(publisher, many(10, "after"));
      await sink.sees(many(10, "after"), t.patience);
      if (t.capabilities.delivery.broadcast === "at-least-once")
        eachAtLeastOnce(sink.payloads, ["before", ...many(10, "missed"), ...many(10, "after")], "seen");
      else {
        eachOnce(
          sink.payloads.filter((payload) => payload.startsWith("after")),
          many(10, "after"),
          "seen after the cut",
        );
      }
    },
  },
  {
    id: "lifecycle/broadcast-data-loss",
    states: "What retention took while a broadcast reader was away is reported: it fails with DATA_LOSS, or skips and an event says so.",
    requires: (c) => c.delivery.broadcast === "at-least-once",
    needs: ["expire"],
    async run(t) {
      for (const onDataLoss of ["fail", "skip"] as const) {
        const link = new Link();
        const broker = await t.connect({ tap: link.tap });
        const name = t.topic();
        const events = t.events(name);
        const sink = new Sink();
        const subscription = await sink.join(broker.topic(name), { broadcast: true, onDataLoss });
        const dies = outcome(subscription.closed);
        const publisher = (await t.connect()).topic(name);
        // One key: which messages are the newest is not known of several shards.
        const key = hasKeys(t.capabilities) ? (): string => "k" : undefined;
        await publishMany(publisher, ["before"], key);
        await sink.sees(["before"]);
        await link.cut();
        await publishMany(publisher, many(20), key);
        await defined(t.provoke.expire, "harness.provoke.expire")(t.site, name, 5);
        link.mend();
        if (onDataLoss === "fail") {
          const verdict = await within(dies, t.patience, "the reader to fail");
          check(!verdict.ok, "a reader that lost messages fails");
          isError(verdict.error, ["DATA_LOSS"], "a reader that lost messages");
          continue;
        }
        await sink.sees(many(20).slice(15), t.patience);
        equal(sink.payloads, ["before", ...many(20).slice(15)], "seen");
        check(
          events.some((event) => event.type === "data-loss"),
          "an event reports the loss",
        );
      }
    },
  },
  {
    id: "lifecycle/fresh",
    states: "A lazy broker connects at its first call, whichever it is; before that its capabilities are UNAVAILABLE and say what to do.",
    async run(t) {
      const { broker, wire } = t.lazy();
      const error = await refuses(() => broker.capabilities, "UNAVAILABLE", "capabilities before the first connect");
      check(error.message.includes("connect()"), "the message says: await broker.connect()");
      equal(wire.calls.length, 0, "driver calls");
      await worksWhen(t, {}, () => {});
    },
  },
  {
    id: "lifecycle/connecting",
    states: "publish, subscribe and replay called while connecting wait for the connection, which is opened once.",
    async run(t) {
      const slow: Tap = {
        connect: async (next) => {
          await pass(150);
          return await next();
        },
      };
      await worksWhen(t, { tap: slow }, async (broker, started) => {
        const connecting = broker.connect();
        started();
        await connecting;
      });
      const { broker, wire } = t.lazy();
      await Promise.all([broker.connect(), broker.connect(), broker.topic(t.topic()).publish("x")]);
      equal(wire.of("connect").length, 1, "driver.connect calls of three callers at once");
    },
  },
  {
    id: "lifecycle/reconnecting",
    states:
      "publish, subscribe and replay called while reconnecting wait for the link; a publish whose deadline passes meanwhile rejects, not in doubt.",
    async run(t) {
      const link = new Link();
      const { broker, topic, name } = await stage(t, { tap: link.tap });
      await topic.publish("x");
      await link.cut();
      await outcome(topic.publish("late", { timeoutMs: 150 }));
      const error = await within(
        rejects(topic.publish("late", { timeoutMs: 150 }), ["TIMEOUT", "UNAVAILABLE"], "publish while down"),
        3_000,
        "a publish while down",
      );
      equal(error.inDoubt, false, "inDoubt of a publish that never left");
      const calls = Object.values(verbs(t, broker, name)).map((call) => call());
      await pass(50);
      link.mend();
      await within(Promise.all(calls), 15_000, "the calls made while reconnecting");
    },
  },
  {
    id: "lifecycle/closing",
    states:
      "While the broker closes, subscribe and replay reject with CLOSED before the wire; a publish, which a handler that still runs may need, is confirmed or rejects with CLOSED.",
    async run(t) {
      const hold = gate();
      let closing: Promise<void> | undefined;
      await refusedWhen(
        t,
        async (broker, name) => {
          const sink = new Sink();
          const topic = open(broker, name);
          await sink.join(topic, t.way(), () => hold.opened);
          await topic.publish("held");
          await sink.reaches(1);
          closing = broker.close({ deadlineMs: 10_000 });
          await pass(20);
        },
        ["subscribe", "replay"],
      );
      hold.open();
      await within(closing ?? Promise.resolve(), 10_000, "close");
    },
  },
  {
    id: "lifecycle/closed",
    states: "After close, publish, subscribe, replay, ping and connect reject with CLOSED before the wire.",
    async run(t) {
      await refusedWhen(t, (broker) => broker.close(), ["publish", "subscribe", "replay"]);
      const broker = await t.connect();
      await broker.close();
      await refuses(() => broker.ping(), "CLOSED", "ping");
      await refuses(() => broker.connect(), "CLOSED", "connect");
      equal([broker.health().connection, broker.health().ready], ["closed", false], "health");
    },
  },
  {
    id: "lifecycle/close-idempotent",
    states: "close may be called twice, at once, on a lazy broker and on a closed one; subscriptions too.",
    async run(t) {
      const { broker, subscription } = await stage(t);
      await within(
        Promise.all([subscription.close(), subscription.close(), broker.close(), broker.close()]),
        10_000,
        "four closes at once",
      );
      await broker.close();
      await subscription.close();
      await within(t.lazy().broker.close(), 5_000, "close of a broker that never connected");
    },
  },
  {
    id: "lifecycle/close-bounded",
    states: "close waits no longer than its deadline for a handler that hangs; its signal aborts, and what it held is handed back.",
    async run(t) {
      const never = gate();
      const { broker, topic, sink, name } = await stage(t, {}, () => never.opened);
      await topic.publish("held");
      await sink.reaches(1);
      const began = now();
      await within(broker.close({ deadlineMs: 300 }), 5_000, "close with deadlineMs 300");
      check(now() - began >= 250, "close gives handlers their time");
      equal(sink.facts[0]?.delivery.signal.aborted, true, "the hanging handler's signal is aborted");
      never.open();
      if (!redelivers(t.capabilities)) return;
      const again = new Sink();
      await again.join((await t.connect()).topic(name), t.way());
      await again.sees(["held"], t.patience);
    },
  },
  {
    id: "lifecycle/drain",
    states:
      "close lets running handlers finish and flushes their acks: nothing that was handled comes again, and nothing that was not handled is lost.",
    requires: redelivers,
    async run(t) {
      const { broker, topic, sink, name } = await stage(t, { consume: { concurrency: 8 } }, () => pass(60));
      await publishMany(topic, many(100));
      await sink.reaches(20);
      await broker.close();
      equal(sink.running, 0, "handlers running after close");
      const handled = [...sink.payloads];
      const again = new Sink();
      await again.join((await t.connect()).topic(name), { ...t.way(), concurrency: 8 });
      await until(() => handled.length + again.facts.length >= 100, "the rest", t.patience);
      await again.rests();
      eachOnce([...handled, ...again.payloads], many(100), "handled before and after the close");
    },
  },
  {
    id: "lifecycle/publishes-drain",
    states: "close lets publishes under way settle: each resolves or rejects, and what was confirmed is there.",
    async run(t) {
      const name = t.topic();
      const sink = new Sink();
      await sink.join((await t.connect()).topic(name), t.way());
      const broker = await t.connect();
      const topic = broker.topic(name);
      const publishing = many(500).map((payload) => outcome(topic.publish(payload)));
      await within(broker.close(), 15_000, "close");
      const settled = await within(Promise.all(publishing), 5_000, "every publish to settle");
      const confirmed = many(500).filter((_, n) => settled[n]?.ok === true);
      check(confirmed.length > 0, "publishes under way are given their time");
      await sink.sees(confirmed);
    },
  },
  {
    id: "lifecycle/no-handle-left",
    states: "After close no handle, timer, socket or listener is left behind.",
    weight: "alone",
    async run(t) {
      const round = async (): Promise<void> => {
        const broker = await t.connect();
        const name = t.topic();
        const topic = open(broker, name);
        const sink = new Sink();
        await sink.join(topic, t.way());
        await publishMany(topic, many(20));
        await sink.reaches(20);
        if (replays(t.capabilities)) for await (const _ of topic.replay({ from: "earliest" })) break;
        await broker.ping();
        await broker.close();
      };
      // The first round loads modules and warms pools that are kept on purpose.
      await round();
      const count = (): Readonly<Record<string, number>> => {
        const kinds: Record<string, number> = {};
        for (const kind of process.getActiveResourcesInfo()) if (kind !== "Immediate") kinds[kind] = (kinds[kind] ?? 0) + 1;
        return kinds;
      };
      const listeners = (): number => process.eventNames().reduce((sum, name) => sum + process.listenerCount(name), 0);
      await pass(50);
      const before = count();
      const beforeListeners = listeners();
      for (let n = 0; n < 3; n += 1) await round();
      const grown = (): readonly string[] =>
        Object.entries(count()).flatMap(([kind, many]) => (many > (before[kind] ?? 0) ? [`${kind} ${before[kind] ?? 0} → ${many}`] : []));
      await until(
        () => grown().length === 0,
        () => `resources to be let go after three rounds: ${grown().join(", ")}`,
        5_000,
      );
      equal(listeners(), beforeListeners, "listeners on process");
    },
  },
  {
    id: "lifecycle/await-using",
    states: "await using closes brokers, subscriptions and streams.",
    async run(t) {
      const { broker, wire } = await t.record();
      {
        await using scoped: Broker = broker;
        const topic = open(scoped, t.topic());
        {
          await using subscription = await new Sink().join(topic, t.way());
          equal(subscription.state.state, "running", "state inside the scope");
        }
        equal(wire.of("close-subscription").length, 1, "closed subscriptions after the inner scope");
        if (replays(t.capabilities)) {
          await using stream = topic.replay({ from: "earliest" });
          await stream.end;
        }
      }
      await rejects(broker.ping(), "CLOSED", "ping after the outer scope");
      equal(wire.of("close").length, 1, "closed drivers after the outer scope");
    },
  },
  {
    id: "lifecycle/closed-promise",
    states: "subscription.closed resolves after close, and rejects when the subscription dies by itself.",
    requires: redelivers,
    async run(t) {
      const first = await stage(t);
      const closed = first.subscription.closed;
      await first.subscription.close();
      await within(closed, 2_000, "closed after close");
      // A reader that fails for good: not a link to mend but an answer.
      let dead = false;
      const { subscription, topic } = await stage(t, {
        tap: {
          receive: async (next) => {
            if (dead) throw driverError("FORBIDDEN", "No longer allowed to read.");
            return await next();
          },
        },
      });
      dead = true;
      const dies = outcome(subscription.closed);
      await topic.publish("to end the wait of the receive under way");
      const verdict = await within(dies, t.patience, "closed after the reader failed");
      check(!verdict.ok, "subscription.closed rejects");
      isError(verdict.error, ["FORBIDDEN"], "subscription.closed");
      equal(subscription.state.state, "closed", "state");
    },
  },
  {
    id: "lifecycle/narrower-server",
    states:
      "Capabilities only narrow: a server that can do less after a reconnect is a typed fatal state, and a driver that claims more than its ceiling is refused.",
    async run(t) {
      const { broker, wire, subscription, topic } = await stage(t, {
        tap: {
          narrow: (c, connection) =>
            connection === 1 ? c : { ...c, message: { ...c.message, maxBytes: 1_024 }, publish: { ...c.publish, maxRecords: 1 } },
        },
      });
      await topic.publish("x");
      const dies = outcome(subscription.closed);
      wire.down(cut());
      const verdict = await within(dies, 15_000, "the subscription to die on a narrower server");
      check(!verdict.ok, "subscription.closed rejects");
      isError(verdict.error, ["UNSUPPORTED"], "subscription.closed");
      equal(broker.health().ready, false, "health().ready");
      await refuses(() => topic.publish("y"), "UNSUPPORTED", "publish to the narrower server");
      const wider = t.lazy({ tap: { narrow: (c) => ({ ...c, priority: { levels: c.priority.levels + 5 } }) } });
      const refused = await outcome(wider.broker.connect());
      check(!refused.ok, "connecting to a driver that claims more than its ceiling is refused");
    },
  },
  {
    id: "lifecycle/health",
    states: "health() says connected and ready, lists every subscription with its state, and needs no I/O.",
    async run(t) {
      const { broker, wire, subscription, topic } = await stage(t);
      const calls = (): number => wire.calls.filter((call) => call.operation !== "receive").length;
      const before = calls();
      equal(
        broker.health().subscriptions.map((state) => [state.topic, state.state]),
        [[topic.name, "running"]],
        "subscriptions",
      );
      equal([broker.health().ready, broker.health().live], [true, true], "ready and live");
      equal(calls(), before, "driver calls made by health()");
      await subscription.close();
      equal(broker.health().subscriptions.length, 0, "subscriptions after one closed");
    },
  },
  {
    id: "lifecycle/url",
    states: "The URL finds the adapter by its scheme; an option that it does not know is INVALID_ARGUMENT.",
    needs: ["url"],
    async run(t) {
      const url = t.url();
      const broker = await t.connectUrl(url);
      await broker.ping();
      const odd = `${url}${url.includes("?") ? "&" : "?"}nonsense=1`;
      await refuses(() => createBroker(odd).connect(), "INVALID_ARGUMENT", "a URL with an unknown option");
    },
  },
];
