import { type Crash, HistoryError, type HistoryEvent, type PublishEnd, type PublishInvoke, type Receive, type Stamp } from "./event.ts";
import { type Delivery, type Entry, type Group, groupName, type Interruption, type Ledger, type Message, type Topic } from "./ledger.ts";
import { type Handed, Standstills } from "./standstill.ts";

/** Times without progress that are shorter than this are not worth remembering as a stall. */
const quietMs = 50;

function topicOf(ledger: Ledger, name: string): Topic {
  let topic = ledger.topics.get(name);
  if (topic === undefined) {
    topic = { name, messages: new Map(), lanes: new Map(), places: new Map(), diverged: [] };
    ledger.topics.set(name, topic);
  }
  return topic;
}

function groupOf(ledger: Ledger, topicName: string, name: string): Group {
  const id = groupName(topicName, name);
  let group = ledger.groups.get(id);
  if (group === undefined) {
    const topic = topicOf(ledger, topicName);
    group = {
      topic,
      name,
      entries: new Map(),
      early: [],
      unmatched: [],
      quiet: [],
      lastT: Number.NaN,
      reported: 0,
      reportedUnknown: false,
    };
    ledger.groups.set(id, group);
  }
  return group;
}

function messageOf(topic: Topic, id: string): Message {
  let message = topic.messages.get(id);
  if (message === undefined) {
    message = {
      id,
      lane: undefined,
      producer: "",
      seq: 0,
      hash: "",
      key: undefined,
      invokes: 0,
      oks: 0,
      fails: 0,
      infos: 0,
      invokeT: Number.NaN,
      okT: Number.NaN,
      endT: Number.NaN,
    };
    topic.messages.set(id, message);
  }
  return message;
}

function place(topic: Topic, position: string | undefined, message: Message): void {
  if (position === undefined) return;
  const other = topic.places.get(position);
  if (other === undefined) topic.places.set(position, message);
  else if (other !== message) topic.diverged.push(`${topic.name} ${position}: ${other.id} and ${message.id}`);
}

function publishInvoke(ledger: Ledger, event: Stamp & PublishInvoke): void {
  const topic = topicOf(ledger, event.topic);
  const message = messageOf(topic, event.id);
  message.invokes++;
  if (message.invokes > 1) {
    if (message.hash !== event.hash || message.key !== event.key) {
      throw new HistoryError(
        `${event.process}, event ${event.i}: id ${event.id} of topic ${event.topic} was published before with other content`,
      );
    }
    return;
  }
  message.hash = event.hash;
  message.producer = event.process;
  message.seq = event.seq;
  message.invokeT = event.t;
  if (event.key === undefined) return;
  const name = JSON.stringify([event.process, event.key]);
  let lane = topic.lanes.get(name);
  if (lane === undefined) {
    lane = { producer: event.process, key: event.key };
    topic.lanes.set(name, lane);
  }
  message.lane = lane;
  message.key = lane.key;
}

function publishEnd(ledger: Ledger, event: Stamp & PublishEnd): void {
  const topic = topicOf(ledger, event.topic);
  const message = topic.messages.get(event.id);
  if (message === undefined || message.invokes <= message.oks + message.fails + message.infos) {
    throw new HistoryError(`${event.process}, event ${event.i}: publish of ${event.id} in topic ${event.topic} ended without having begun`);
  }
  if (event.type === "ok") {
    if (message.oks++ === 0) message.okT = event.t;
    place(topic, event.position, message);
  } else if (event.type === "fail") message.fails++;
  else message.infos++;
  message.endT = event.t;
}

function progress(group: Group, t: number): void {
  if (t - group.lastT >= quietMs) group.quiet.push({ from: group.lastT, to: t });
  group.lastT = t;
}

function receive(ledger: Ledger, process: string, event: Stamp & Receive): Handed {
  const group = groupOf(ledger, event.topic, event.group);
  const message = messageOf(group.topic, event.id);
  const known = message.invokes > 0;
  const altered = !known || event.hash !== message.hash || event.key !== message.key;
  const delivery: Delivery = {
    process,
    t: event.t,
    position: event.position,
    run: event.run,
    hash: altered ? event.hash : undefined,
    key: altered ? event.key : undefined,
    doneT: Number.NaN,
    failed: false,
    handled: false,
    ackT: Number.NaN,
    acked: false,
  };
  const entry: Entry = group.entries.get(message.id) ?? { message, deliveries: [] };
  group.entries.set(message.id, entry);
  entry.deliveries.push(delivery);
  place(group.topic, event.position, message);
  progress(group, event.t);
  return { entry, delivery };
}

function settle(ledger: Ledger, event: HistoryEvent & { readonly f: "done" | "ack" | "nack" }): void {
  const group = groupOf(ledger, event.topic, event.group);
  const delivery = group.entries
    .get(event.id)
    ?.deliveries.findLast((d) => d.process === event.process && (event.run === undefined || d.run === event.run));
  const what = `${event.id} by ${event.process}`;
  if (delivery === undefined) {
    if (event.f !== "ack") group.unmatched.push(`${event.f} of ${what}`);
    else if (event.type !== "fail") group.early.push(`${what}, without a delivery`);
    return;
  }
  progress(group, event.t);
  if (event.f === "done") {
    // The first verdict counts: a handler that returns after its time-out was a failure.
    if (!Number.isNaN(delivery.doneT)) return;
    delivery.doneT = event.t;
    if (event.type === "ok") delivery.handled = true;
    else delivery.failed = true;
  } else if (event.f === "nack") {
    if (event.type === "fail") return;
    delivery.failed = true;
    if (Number.isNaN(delivery.doneT)) delivery.doneT = event.t;
  } else if (event.type === "fail") delivery.acked = false;
  else {
    if (Number.isNaN(delivery.doneT) && !delivery.acked) group.early.push(what);
    delivery.acked = true;
    if (event.type === "ok" && Number.isNaN(delivery.ackT)) delivery.ackT = event.t;
  }
}

function crash(ledger: Ledger, standstills: Standstills, event: Stamp & Crash): void {
  const target = event.unit === "shard" ? (event.target ?? event.process) : event.target;
  if (event.type === "ok") {
    const open = ledger.interruptions.findLast((it) => it.unit === event.unit && it.target === target && !it.ended);
    if (open === undefined)
      throw new HistoryError(`${event.process}, event ${event.i}: the end of an interruption (${event.unit}) that never began`);
    open.to = event.t;
    open.ended = true;
    return;
  }
  // A killed process goes on writing until the signal arrives; whatever it received belongs to its end.
  const end = event.unit === "process" ? Number.POSITIVE_INFINITY : event.t;
  const interruption: Interruption = {
    unit: event.unit,
    target,
    topic: event.topic,
    group: event.group,
    shard: event.shard,
    from: event.t,
    to: end,
    ended: false,
    stands: end,
  };
  ledger.interruptions.push(interruption);
  if (event.unit === "process") standstills.begin(interruption);
}

/** Reads a history (merged by time) into a ledger. Memory grows with messages and deliveries, not with events. */
export function collect(history: Iterable<HistoryEvent>): Ledger {
  const ledger: Ledger = {
    events: 0,
    firstT: Number.NaN,
    lastT: Number.NaN,
    topics: new Map(),
    groups: new Map(),
    interruptions: [],
  };
  // Every parsed line brings its own copy of its process's name; deliveries keep one.
  const names = new Map<string, string>();
  const standstills = new Standstills();
  for (const event of history) {
    if (ledger.events++ === 0) ledger.firstT = event.t;
    ledger.lastT = event.t;
    let process = names.get(event.process);
    if (process === undefined) {
      process = event.process;
      names.set(process, process);
    }
    let handed: Handed | undefined;
    switch (event.f) {
      case "publish":
        if (event.type === "invoke") publishInvoke(ledger, event);
        else publishEnd(ledger, event);
        break;
      case "receive":
        if (event.type === "ok") handed = receive(ledger, process, event);
        else {
          const group = groupOf(ledger, event.topic, event.group);
          if (event.lost === null) group.reportedUnknown = true;
          else group.reported += event.lost;
        }
        break;
      case "crash":
        crash(ledger, standstills, event);
        break;
      default:
        settle(ledger, event);
    }
    standstills.saw(process, event.t, handed);
  }
  standstills.end();
  return ledger;
}
