// What the fields of a capability record mean to an application: each aspect says it for one record, and what to do about a change.
import type { EffectiveCapabilities, StartKind } from "brokerkit";
import { count, duration, size } from "../amounts.ts";

export type Section = "Delivery" | "Order" | "Start points and replay" | "Retry and dead letters" | "Time" | "Limits" | "Operations";

/** A field of the record by its path, such as `"delivery.group"`. */
export type Field = Leaf<EffectiveCapabilities>;

type Leaf<T> = {
  [K in keyof T & string]: [T[K]] extends [string | number | boolean | readonly unknown[]] ? K : `${K}.${Leaf<T[K]>}`;
}[keyof T & string];

type C = EffectiveCapabilities;

export interface Aspect {
  readonly section: Section;
  readonly name: string;
  /** 3: messages are lost, doubled or out of order over it. 2: something an application calls. 1: a limit or a detail. 0: inside. */
  readonly weight: 0 | 1 | 2 | 3;
  /** What it speaks for: when one of these differs, or the sentence does, it has changed. Each field has its aspect. */
  readonly fields: readonly Field[];
  /** What holds with this record, in words that are true by themselves. */
  readonly says: (c: C) => string;
  /** More is better for the application. Left out where neither way is better. */
  readonly rank?: (c: C) => number;
  /** What to do when it changes from one to the other. */
  readonly advice: (to: C, from: C) => string;
}

const level = (value: string, ...levels: readonly string[]): number => levels.indexOf(value);
const upTo = (value: number, show: (value: number) => string): string => (Number.isFinite(value) ? `up to ${show(value)}` : "any");
const listed = (kinds: readonly StartKind[]): string => kinds.join(", ");
const hasGroups = (c: C): boolean => c.delivery.group !== "none";
const hasReplay = (c: C): boolean => c.from.replay.length > 0;
const keeps = (c: C): boolean => hasGroups(c) || hasReplay(c);
const repeats = (c: C): boolean => c.delivery.group === "at-least-once" || c.delivery.broadcast === "at-least-once";
const missing = (kinds: readonly StartKind[], before: readonly StartKind[]): string =>
  listed(before.filter((kind) => !kinds.includes(kind)));
/** One message must fit into one call as well. */
const largest = (c: C): number => Math.min(c.message.maxBytes, c.publish.maxBytes);
const retentions = (c: C): string[] => [
  ...(c.retention.ms ? ["by time"] : []),
  ...(c.retention.bytes ? ["by size"] : []),
  ...(c.retention.compact ? ["by key (compaction)"] : []),
];

const DELIVERY: readonly Omit<Aspect, "section">[] = [
  {
    name: "groups",
    weight: 3,
    fields: ["delivery.group", "delivery.groups", "supply.groups"],
    says: (c) => {
      const what = {
        none: "none: every subscriber gets everything",
        "at-most-once": "at most once: what a member had in hand when it died is lost",
        "at-least-once": "at least once: what a member did not acknowledge comes again",
      }[c.delivery.group];
      return hasGroups(c) && Number.isFinite(c.delivery.groups) ? `${what}; at most ${count(c.delivery.groups)} for a topic` : what;
    },
    rank: (c) => level(c.delivery.group, "none", "at-most-once", "at-least-once"),
    advice: (to, from) => {
      if (!hasGroups(to))
        return "A group is UNSUPPORTED. Subscribe by broadcast and share the work yourself, or leave these topics where they are (routed).";
      if (!hasGroups(from))
        return "Workers can share a topic: subscribe({ group }). A new group starts at the topic's end unless `from` says otherwise.";
      if (to.delivery.group === "at-most-once")
        return "Leave work that must not be lost where it is (routed), or find what was missed in a store of your own.";
      return "Repairs of what members lost are no longer needed.";
    },
  },
  {
    name: "broadcast",
    weight: 3,
    fields: ["delivery.broadcast", "supply.broadcast"],
    says: (c) =>
      ({
        none: "none",
        "at-most-once": "at most once: what is published while a subscriber's connection is down is gone for it",
        "at-least-once": "at least once: a subscriber whose connection broke goes on behind what it had",
      })[c.delivery.broadcast],
    rank: (c) => level(c.delivery.broadcast, "none", "at-most-once", "at-least-once"),
    advice: (to, from) => {
      if (to.delivery.broadcast === "none") return "A broadcast is UNSUPPORTED. Give each subscriber a group of its own.";
      if (to.delivery.broadcast === "at-most-once") {
        return from.delivery.broadcast === "none"
          ? "Use it for what is worth nothing a moment later."
          : "Listen for the event data-loss, and find what was missed in a store of your own.";
      }
      return "A process that starts anew still begins at the end, unless `from` says where.";
    },
  },
  {
    name: "repeats",
    weight: 3,
    fields: [],
    says: (c) => (repeats(c) ? "a message may be delivered more than once" : "a message is delivered once or not at all"),
    advice: (to) =>
      repeats(to)
        ? "Make handlers idempotent: drop what was seen by message.id, which stays the same, or write so that twice does no harm."
        : "Handlers may still run again: after a failure they are retried in place.",
  },
  {
    name: "restart",
    weight: 3,
    fields: ["durable"],
    says: (c) => (c.durable ? "messages outlive a restart of the backend" : "messages are gone when the backend restarts"),
    rank: (c) => Number(c.durable),
    advice: (to) => (to.durable ? "What is kept takes room: choose a retention." : "Keep what must survive in a store of your own."),
  },
  {
    name: "confirmed publish",
    weight: 2,
    fields: ["durabilityOnAck"],
    says: (c) =>
      ({
        none: "nothing keeps the message",
        memory: "it is in the backend's memory",
        "page-cache": "it is with the backend's operating system",
        fsync: "it is on disk",
        replicated: "it is on several servers",
      })[c.durabilityOnAck],
    rank: (c) => level(c.durabilityOnAck, "none", "memory", "page-cache", "fsync", "replicated"),
    advice: (to) =>
      ({
        none: "Nothing says that a message was received: use it for what may be lost.",
        memory: "A crash of the backend takes messages that were confirmed.",
        "page-cache":
          "A power cut takes messages that were confirmed. The server's settings decide: see broker.capabilities.durabilityOnAck.",
        fsync: "The server's settings decide how much of it holds: see broker.capabilities.durabilityOnAck once connected.",
        replicated: "The server's settings decide how much of it holds: see broker.capabilities.durabilityOnAck once connected.",
      })[to.durabilityOnAck],
  },
  {
    name: "dedupe",
    weight: 2,
    fields: ["dedupe.windowMs"],
    says: ({ dedupe: { windowMs } }) =>
      windowMs === 0
        ? "none: an id published again is stored again"
        : `an id published again within ${upTo(windowMs, duration)} is stored once`,
    rank: (c) => c.dedupe.windowMs,
    advice: (to, from) => {
      if (to.dedupe.windowMs === 0)
        return "A publish in doubt rejects (inDoubt) instead of being repeated. Publish again under the same id, and let handlers drop it.";
      if (from.dedupe.windowMs === 0)
        return "A publish in doubt is repeated instead of rejecting. See the adapter's options: the window may have to be switched on.";
      return "It bounds how long after a publish a retry of your own may come.";
    },
  },
  {
    name: "acknowledging",
    weight: 2,
    fields: ["settle.unit", "settle.ack"],
    says: (c) => {
      if (!hasGroups(c)) return "nothing to acknowledge: a message is forgotten once it is sent";
      const unit = {
        message: "each message by itself",
        entry: "entry by entry, with all messages of the entry",
        prefix: "in order per shard: after a crash all behind the oldest open message comes again",
      }[c.settle.unit];
      return `${unit} (${{ confirmed: "the backend confirms", written: "sent, and not answered", recorded: "noted in this process" }[c.settle.ack]})`;
    },
    advice: (to) => {
      if (!hasGroups(to)) return "What a process had not handled when it ended is lost.";
      if (to.settle.unit === "message") return "After a crash only what was not acknowledged comes again.";
      return "One slow message keeps what follows it open: bound handlers by timeoutMs, and make them idempotent.";
    },
  },
];

const ORDER: readonly Omit<Aspect, "section">[] = [
  {
    name: "key order",
    weight: 3,
    fields: ["keyOrder", "supply.keyOrder", "coordination"],
    says: (c) => {
      const order = {
        members: "members: one key at a time among all members of a group, in all processes",
        process: "process: one key at a time in one process; two processes may handle a key at once",
        none: "none: messages of one key may be handled in any order",
      }[c.keyOrder];
      return c.coordination ? `${order}, in topics created with partitions` : order;
    },
    rank: (c) => level(c.keyOrder, "none", "process", "members"),
    advice: (to) =>
      ({
        members: to.coordination
          ? "Give topics that need it `partitions` in defineTopic; then locks of your own around a key can go."
          : "Where a group does the work, locks of your own around a key can go.",
        process: "Run one process per group, or lock the key while handling it.",
        none: "Put a version into the payload, and drop what is older than what was handled.",
      })[to.keyOrder],
  },
  {
    name: "partitions",
    weight: 3,
    fields: ["topics.partitions"],
    says: ({ topics: { partitions } }) =>
      partitions === 1
        ? "one shard per topic, with one order"
        : `up to ${count(partitions)} shards per topic; order holds within a shard, so within a key`,
    advice: (to) =>
      to.topics.partitions === 1
        ? "`partitions` in a definition has no effect; an event (no-effect) says so."
        : "Choose `partitions` in defineTopic before the first publish, and give what must stay in order one key: between keys there is no order.",
  },
  {
    name: "priorities",
    weight: 1,
    fields: ["priority.levels"],
    says: ({ priority: { levels } }) => (levels === 0 ? "none" : `${count(levels)} levels`),
    rank: (c) => c.priority.levels,
    advice: (to) =>
      to.priority.levels === 0
        ? "publish(…, { priority }) is UNSUPPORTED. Use a topic for each urgency."
        : `publish(…, { priority }) takes 0 to ${count(to.priority.levels - 1)}, higher first.`,
  },
];

const STARTS: readonly Omit<Aspect, "section">[] = [
  {
    name: "replay",
    weight: 3,
    fields: ["from.replay", "supply.replay"],
    says: (c) => (hasReplay(c) ? `from ${listed(c.from.replay)}` : "none: what was published cannot be read again"),
    rank: (c) => c.from.replay.length,
    advice: (to, from) => {
      if (!hasReplay(to))
        return 'Rebuild from a store of your own. requires: ["replay"] makes a program that needs it fail when it connects.';
      if (!hasReplay(from)) return "topic.replay({ from }) reads again what was published, as far back as retention reaches.";
      const gone = missing(to.from.replay, from.from.replay);
      return gone === "" ? "Nothing: everything that worked still works." : `Reading from ${gone} is UNSUPPORTED.`;
    },
  },
  {
    name: "end of a replay",
    weight: 1,
    fields: ["cursorEnd"],
    says: (c) => (c.cursorEnd ? "known when it opens" : hasReplay(c) ? "not known" : "there is no replay"),
    rank: (c) => Number(c.cursorEnd),
    advice: (to) =>
      to.cursorEnd
        ? "A group that starts at replay.end joins a rebuilt state without a gap."
        : "replay.end is UNSUPPORTED: a replay cannot be joined to a group without a gap.",
  },
  {
    name: "start of a group",
    weight: 2,
    fields: ["from.group"],
    says: (c) => (c.from.group.length > 0 ? listed(c.from.group) : "there are no groups"),
    rank: (c) => c.from.group.length,
    advice: (to, from) => {
      if (!hasGroups(to)) return "Without groups nothing waits for a worker that is away.";
      const gone = missing(to.from.group, from.from.group);
      return gone === ""
        ? "`from` counts only when a group is created; one that exists keeps its place."
        : `Starting a group at ${gone} is UNSUPPORTED.`;
    },
  },
  {
    name: "start of a broadcast",
    weight: 2,
    fields: ["from.broadcast"],
    says: (c) => (c.from.broadcast.length > 0 ? listed(c.from.broadcast) : "there is no broadcast"),
    rank: (c) => c.from.broadcast.length,
    advice: (to, from) => {
      const gone = missing(to.from.broadcast, from.from.broadcast);
      return gone === ""
        ? "A subscriber that was away can ask for what it missed: subscribe({ broadcast: true, from })."
        : `Subscribing from ${gone} is UNSUPPORTED.`;
    },
  },
  {
    name: "seek",
    weight: 2,
    fields: ["seek"],
    says: (c) =>
      ({
        live: "a group can be moved under its members",
        idle: "a group can be moved while it has no members",
        none: "a group cannot be moved",
      })[c.seek],
    rank: (c) => level(c.seek, "none", "idle", "live"),
    advice: (to) =>
      ({
        live: "group.seek loses what is in members' hands at that moment, then goes on from the new place.",
        idle: "Stop the members first: group.seek rejects GROUP_ACTIVE with their names.",
        none: hasGroups(to) ? "group.seek is UNSUPPORTED. Make a new group that starts where it is needed." : "group.seek is UNSUPPORTED.",
      })[to.seek],
  },
  {
    name: "retention",
    weight: 3,
    fields: ["retention.ms", "retention.bytes", "retention.compact"],
    says: (c) => {
      const ways = retentions(c);
      if (ways.length > 0) return `chosen per topic, ${ways.join(", ")}`;
      return keeps(c) ? "not chosen per topic: the backend's own setting holds" : "nothing is kept";
    },
    rank: (c) => retentions(c).length,
    advice: (to, from) => {
      const gone = retentions(from).filter((way) => !retentions(to).includes(way));
      if (gone.length > 0) return `A definition that asks for retention ${gone.join(", ")} is UNSUPPORTED.`;
      return "Choose it in defineTopic({ retention }): history, and groups that fall behind, reach back only that far.";
    },
  },
  {
    name: "places",
    weight: 1,
    fields: ["places.perDelivery", "places.dense"],
    says: ({ places: { perDelivery, dense } }) =>
      perDelivery
        ? `each message has a place in its shard${dense ? ", numbered without gaps" : ", numbered with gaps"}`
        : "messages have no place",
    rank: (c) => Number(c.places.perDelivery) + Number(c.places.dense),
    advice: ({ places: { perDelivery, dense } }) => {
      if (!perDelivery) return "There is no message.place: number messages in the payload if gaps must be seen.";
      return dense
        ? "A gap between two places of a shard is a loss."
        : "message.place can be stored and compared within its shard; a gap between two is no loss.";
    },
  },
];

const RETRY: readonly Omit<Aspect, "section">[] = [
  {
    name: "dead letters",
    weight: 3,
    fields: ["supply.deadLetter", "supply.deadLetterList", "supply.redrive"],
    says: ({ supply }) => {
      if (supply.deadLetter === "none") return "none: what fails for good is dropped, with an event";
      if (supply.deadLetterList === "none") return "kept for each group, not listed";
      return supply.redrive === "none" ? "kept for each group and listed" : "kept for each group, listed, and sent back on request";
    },
    rank: ({ supply }) => [supply.deadLetter, supply.deadLetterList, supply.redrive].filter((one) => one !== "none").length,
    advice: (to) => {
      if (to.supply.deadLetter === "none") {
        return hasGroups(to)
          ? 'A group must say deadLetter: "drop", and handlers store themselves what must not be lost.'
          : "Let handlers store themselves what must not be lost.";
      }
      if (to.supply.deadLetterList === "none") return "Read <topic>.<group>.dead with a tool of the backend.";
      return "What a group fails for good goes to <topic>.<group>.dead: watch deadLetters.count(), then list and redrive.";
    },
  },
  {
    name: "attempts",
    weight: 3,
    fields: ["redelivery.counted"],
    says: (c) => {
      if (!hasGroups(c)) return "a message that brings its process down is gone";
      return {
        failures: "failures are counted beyond a crash of the process",
        deliveries: "deliveries are counted beyond a crash of the process, failures are not",
        none: "failures are counted in one process only",
      }[c.redelivery.counted];
    },
    rank: (c) => level(c.redelivery.counted, "none", "deliveries", "failures"),
    advice: (to) => {
      if (!hasGroups(to)) return "Catch in the handler what must be tried again later.";
      return {
        failures: "A message that brings its process down is given up after retry.attempts.",
        deliveries: "message.attempt goes on after a crash; the limit of failures begins anew.",
        none: "A message that brings its process down comes again and again: count such messages in a store of your own, by message.id.",
      }[to.redelivery.counted];
    },
  },
  {
    name: "retry",
    weight: 2,
    fields: ["supply.retry"],
    says: ({ supply }) => (supply.retry === "none" ? "none" : "in place, with attempts and backoff"),
    rank: ({ supply }) => Number(supply.retry !== "none"),
    advice: ({ supply }) => (supply.retry === "none" ? "Let handlers try again by themselves." : "Set retry.attempts and retry.backoffMs."),
  },
  {
    name: "requeue",
    weight: 2,
    fields: ["supply.requeue", "groupInbox"],
    says: ({ supply, groupInbox }) => {
      if (supply.requeue === "none") return "none: a failed message is retried in place";
      return groupInbox === "native"
        ? "behind everything else, in the group's own queue"
        : "behind everything else, in a second stream of the group";
    },
    rank: ({ supply }) => Number(supply.requeue !== "none"),
    advice: ({ supply, groupInbox }) => {
      if (supply.requeue === "none") return 'retry: { mode: "requeue" } is UNSUPPORTED.';
      return groupInbox === "native"
        ? 'retry: { mode: "requeue" } blocks nothing, and gives up that message\'s order.'
        : 'retry: { mode: "requeue" } uses <topic>.<group>.retry: the application needs rights on it.';
    },
  },
  {
    name: "giving back",
    weight: 1,
    fields: ["supply.delayedNack"],
    says: (c) => {
      if (c.supply.delayedNack === "none") return "nack({ delayMs }) is UNSUPPORTED";
      if (!hasGroups(c)) return "what fails waits in its process, which shares with nobody";
      return c.redelivery.native
        ? "what a closing member gives back goes to the others at once"
        : "what a closing member had goes to the others once the backend has seen it leave";
    },
    rank: (c) => Number(c.supply.delayedNack !== "none"),
    advice: (to) => {
      if (to.supply.delayedNack === "none") return "Let what fails come again after the backoff.";
      return hasGroups(to)
        ? "Close brokers on SIGTERM: broker.close() lets handlers finish before it gives back the rest."
        : "A process that ends loses what it had not handled.";
    },
  },
  {
    name: "batches",
    weight: 2,
    fields: ["supply.deliveryBatch"],
    says: ({ supply }) => (supply.deliveryBatch === "none" ? "messages come one by one" : "a handler can take many messages at once"),
    rank: ({ supply }) => Number(supply.deliveryBatch !== "none"),
    advice: ({ supply }) =>
      supply.deliveryBatch === "none"
        ? "subscribeBatches and batches() need a group: collect messages in the handler."
        : "A loader can use subscribeBatches({ group, max }).",
  },
  {
    name: "holding",
    weight: 1,
    fields: ["hold.maxMs", "hold.maxUnacked", "hold.scope"],
    says: ({ hold: { maxMs, maxUnacked, scope } }) => {
      const many = `${upTo(maxUnacked, count)}${Number.isFinite(maxUnacked) ? "" : " number of"} messages wait unsettled for a retry`;
      const long = Number.isFinite(maxMs) ? `, for up to ${duration(maxMs)}` : "";
      return `${many}${long}; at the bound the ${scope} stands still`;
    },
    advice: () => "If many messages fail at once, lower retry.attempts or retry.backoffMs so that less is held.",
  },
];

const TIME: readonly Omit<Aspect, "section">[] = [
  {
    name: "ownership",
    weight: 2,
    fields: ["lease.ms", "lease.extend", "supply.extend"],
    says: (c) => {
      if (!hasGroups(c)) return "a delivery ends with its process";
      const more = { native: ", extended while a handler runs", portable: "", none: ", and not extended" }[c.supply.extend];
      return c.lease.ms === 0
        ? "a delivery is owned while its member is connected"
        : `a delivery is owned for ${duration(c.lease.ms)}${more}`;
    },
    advice: (to) => {
      if (!hasGroups(to)) return "What a process had not handled when it ended is lost.";
      const when = to.lease.ms === 0 ? "when the backend takes it for gone" : `${duration(to.lease.ms)} later`;
      const limit = to.supply.extend === "none" ? ` Keep handlers shorter than ${duration(to.lease.ms)}.` : "";
      return `What a dead member held comes to another ${when}.${limit}`;
    },
  },
  {
    name: "delayed publish",
    weight: 2,
    fields: ["delay.maxMs"],
    says: ({ delay: { maxMs } }) => (maxMs === 0 ? "none" : `${upTo(maxMs, duration)}${Number.isFinite(maxMs) ? "" : " time"} ahead`),
    rank: (c) => c.delay.maxMs,
    advice: ({ delay: { maxMs } }) => {
      if (maxMs === 0) return "publish(…, { delayMs }) is UNSUPPORTED. Keep a timetable in a store of your own.";
      return Number.isFinite(maxMs)
        ? `publish(…, { delayMs }) refuses more than ${duration(maxMs)}.`
        : "publish(…, { delayMs }) takes any delay.";
    },
  },
  {
    name: "time to live",
    weight: 1,
    fields: ["ttl.maxMs"],
    says: ({ ttl: { maxMs } }) => (maxMs === 0 ? "none" : `${upTo(maxMs, duration)}${Number.isFinite(maxMs) ? "" : " time"} per message`),
    rank: (c) => c.ttl.maxMs,
    advice: ({ ttl: { maxMs } }) => {
      if (maxMs === 0) return "publish(…, { ttlMs }) is UNSUPPORTED. Put a time into the payload, and let handlers skip what is too old.";
      return Number.isFinite(maxMs)
        ? `publish(…, { ttlMs }) refuses more than ${duration(maxMs)}.`
        : "publish(…, { ttlMs }) takes any time.";
    },
  },
];

const LIMITS: readonly Omit<Aspect, "section">[] = [
  {
    name: "largest message",
    weight: 2,
    fields: ["message.maxBytes", "publish.maxBytes"],
    says: (c) => (Number.isFinite(largest(c)) ? `${size(largest(c))}, key and headers included` : "no limit"),
    rank: largest,
    advice: (to, from) =>
      largest(to) < largest(from)
        ? "Larger ones are TOO_LARGE. Put the body into a store, and publish where it is. The server may allow less."
        : "The server may allow less: see broker.capabilities.message.maxBytes once connected.",
  },
  {
    name: "headers",
    weight: 1,
    fields: ["message.headers", "message.maxHeaders"],
    says: ({ message: { headers, maxHeaders } }) =>
      headers ? `${upTo(maxHeaders, count)}${Number.isFinite(maxHeaders) ? "" : " number"}` : "none",
    rank: ({ message: { headers, maxHeaders } }) => (headers ? maxHeaders : 0),
    advice: ({ message: { headers, maxHeaders } }) => {
      if (!headers) return "publish(…, { headers }) is UNSUPPORTED. Put them into the payload.";
      return Number.isFinite(maxHeaders) ? "Some of them are brokerkit's own." : "Nothing: there is room for more.";
    },
  },
  {
    name: "keys",
    weight: 3,
    fields: ["message.key"],
    says: (c) => (c.message.key ? "a message can have a key" : "none"),
    rank: (c) => Number(c.message.key),
    advice: (to) =>
      to.message.key ? "Give what must stay in order one key." : "A definition with `key` is UNSUPPORTED: nothing keeps an order.",
  },
  {
    name: "tombstones",
    weight: 1,
    fields: ["message.tombstone"],
    says: (c) => (c.message.tombstone ? "publish(null) is a message without a body" : "none"),
    rank: (c) => Number(c.message.tombstone),
    advice: (to) =>
      to.message.tombstone ? "Handlers see message.tombstone." : "publish(null) is UNSUPPORTED. Say in the payload that something is gone.",
  },
];

const OPERATIONS: readonly Omit<Aspect, "section">[] = [
  {
    name: "topics",
    weight: 2,
    fields: ["topics.explicit"],
    says: (c) => (c.topics.explicit ? "explicit: created before they are used" : "there as soon as somebody uses the name"),
    advice: (to) =>
      to.topics.explicit
        ? 'What is missing is created at first use. Where the application has no right to, create it at deployment (broker.provision) and say provision: "verify".'
        : "Nothing is to be created, and a misspelt name is a topic that nobody reads.",
  },
  {
    name: "lag",
    weight: 2,
    fields: ["lag.count", "lag.unit", "lag.inFlight", "lag.oldest"],
    says: ({ lag: { count: kind, unit, inFlight, oldest } }) => {
      if (kind === "none") return "not known";
      const how = { exact: "exact", "upper-bound": "at most, not exact", estimate: "estimated" }[kind];
      return `${how}, in ${unit === "entry" ? "entries" : "messages"}${inFlight ? ", with those in flight" : ""}${oldest ? ", with the age of the oldest" : ""}`;
    },
    rank: ({ lag: { count: kind, unit, inFlight, oldest } }) =>
      level(kind, "none", "estimate", "upper-bound", "exact") * 10 + Number(unit === "message") + Number(inFlight) + Number(oldest),
    advice: ({ lag: { count: kind } }) => {
      if (kind === "none") return "group.lag() is UNSUPPORTED: alert on something else.";
      return kind === "exact"
        ? "group.lag() can drive alerts and scaling."
        : "group.lag() can drive alerts and scaling; it need not reach 0 when nothing is left to do.";
    },
  },
  {
    name: "looking at topics",
    weight: 1,
    fields: ["topics.describe"],
    says: (c) => (c.topics.describe ? "topics and groups can be described" : "topics cannot be described"),
    rank: (c) => Number(c.topics.describe),
    advice: (to) =>
      to.topics.describe
        ? 'provision: "verify" and broker.provision(topics, { dryRun: true }) say what is missing or differs.'
        : 'provision: "verify" finds nothing missing, as it cannot look.',
  },
  {
    name: "delays inside",
    weight: 0,
    fields: ["redelivery.native", "redelivery.maxDelayMs"],
    says: ({ redelivery: { native, maxDelayMs } }) => {
      if (!native) return "brokerkit keeps what is to be tried later";
      if (maxDelayMs === 0) return "the backend takes messages back, for now only";
      return `the backend takes messages back, ${upTo(maxDelayMs, duration)}${Number.isFinite(maxDelayMs) ? "" : " time"} ahead`;
    },
    advice: () => "Nothing: brokerkit sees to it.",
  },
  {
    name: "publish calls",
    weight: 0,
    fields: ["publish.maxRecords", "publish.maxBytes", "publish.inFlight", "publish.order", "supply.publishBatch"],
    says: ({ publish: { maxRecords, maxBytes, inFlight, order } }) =>
      `${upTo(maxRecords, count)}${Number.isFinite(maxRecords) ? "" : " number of"} messages or ${Number.isFinite(maxBytes) ? size(maxBytes) : "any size"} in one, ${Number.isFinite(inFlight) ? count(inFlight) : "any number"} at once${order === "record" ? ", each key once in a call" : ""}`,
    advice: (to) =>
      to.publish.order === "record"
        ? "brokerkit sees to it. Messages of one key leave one call at a time."
        : "Nothing: brokerkit sees to it.",
  },
  {
    name: "receive calls",
    weight: 0,
    fields: ["receive.maxRecords", "receive.concurrency", "receive.maxWaitMs"],
    says: ({ receive: { maxRecords, concurrency, maxWaitMs } }) =>
      `${upTo(maxRecords, count)}${Number.isFinite(maxRecords) ? "" : " number of"} messages in one, ${Number.isFinite(concurrency) ? count(concurrency) : "any number"} at once, waiting ${Number.isFinite(maxWaitMs) ? duration(maxWaitMs) : "as long as it takes"}`,
    advice: () => "Nothing: brokerkit sees to it.",
  },
];

const within = (section: Section, aspects: readonly Omit<Aspect, "section">[]): Aspect[] => aspects.map((one) => ({ section, ...one }));

/** Everything that is compared, section by section. */
export const ASPECTS: readonly Aspect[] = [
  ...within("Delivery", DELIVERY),
  ...within("Order", ORDER),
  ...within("Start points and replay", STARTS),
  ...within("Retry and dead letters", RETRY),
  ...within("Time", TIME),
  ...within("Limits", LIMITS),
  ...within("Operations", OPERATIONS),
];
