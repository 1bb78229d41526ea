// The story, scene by scene, in the order in which it is played.
import { writeFile } from "node:fs/promises";
import { type HistoryRecord, historyTime } from "@brokerkit/conformance/checker";
import type { DeadLetter } from "brokerkit";
import { GROUP, orders } from "./app.ts";
import type { Member } from "./crew.ts";
import { orderId } from "./line.ts";
import { REPLAY, type Reader, type Step } from "./plan.ts";
import { count, number } from "./screen.ts";
import { type Stage, TourError } from "./stage.ts";
import { digest, type Moment } from "./witness.ts";

export const WORKERS = ["worker-1", "worker-2", "worker-3"];
/** The worker that meets with the fault, and the one that takes its place. */
const VICTIM = "worker-2";
const SUBSTITUTE = "worker-4";
/** How far the producers go before anybody works, and before the fault and the replay are over: what follows must still meet orders. */
const HEAD_START = 0.25;
const HOLD = 0.9;
/** The replay will begin at what is handled about now; the fault comes once so much is handled. */
const EARLY = 0.1;
const MIDDLE = 0.35;
/** A worker is killed with so much in its hands, or a little less for every look that finds less. */
const BUSY = 8;
/** At the least so much is published while a link is cut. */
const MISSED = 0.05;
/** Time for one order to arrive before the next one is let out. */
const SPARING_MS = 150;

const KEPT = {
  none: "kept nowhere",
  memory: "in memory",
  "page-cache": "with the operating system",
  fsync: "on disk",
  replicated: "on several servers",
} as const;

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0)} s`;

// ---- opening
export async function opening(stage: Stage): Promise<void> {
  const { plan, setting, capabilities: c } = stage;
  const { screen } = setting;
  const can = plan.way === "group" ? `groups ${c.delivery.group}` : `no groups, broadcast ${c.delivery.broadcast}`;
  const order = { members: "among all members", process: "within a process", none: "not kept" }[plan.order];
  const lease = stage.leaseMs > 0 ? `, lease ${seconds(stage.leaseMs)}` : "";
  screen.story("backend", `${plan.name}: ${can}; order per key ${order}; a confirmed publish is ${KEPT[c.durabilityOnAck]}${lease}.`);
  if (plan.way === "group") await stage.topic.createGroup(GROUP);
  const cut = setting.fault && plan.fault === "cut";
  await stage.cast(WORKERS, plan.deadLetter.shown, cut ? VICTIM : undefined);
  screen.story(
    "cast",
    `${stage.producers.length} producers and ${WORKERS.length} workers, each a process of its own, run one application file: app.ts.`,
  );
  stage.watch();
  if (plan.way === "group") await headStart(stage);
  else await listenFirst(stage);
  note(stage, "workers", plan.groups, `${WORKERS.length} shared the group "${GROUP}"`);
}

async function headStart(stage: Stage): Promise<void> {
  const { screen, orders: all } = stage.setting;
  screen.story("publish", `${number(all)} orders come in. Nobody works yet: the group "${GROUP}" keeps them.`);
  await stage.upto(HEAD_START);
  await stage.wait(() => stage.confirmed >= Math.floor(all * HEAD_START) - 1, "the first orders to be published");
  await stage.begin(stage.workers);
  const waiting = count(stage.confirmed - stage.handled.size, "order");
  screen.story(
    "work",
    `${WORKERS.length} workers join the group; ${waiting} waited for them.`,
    "A group that exists misses nothing, whether somebody listens or not.",
  );
  await stage.upto(HOLD);
}

async function listenFirst(stage: Stage): Promise<void> {
  const { screen, orders: all } = stage.setting;
  await stage.begin(stage.workers);
  screen.story(
    "work",
    `${WORKERS.length} workers listen, each for itself, before anything is published.`,
    "Without groups nobody keeps an order for a worker that is away.",
  );
  screen.story("publish", `${number(all)} orders come in.`);
  await stage.upto(HOLD);
  const anything = (): boolean => stage.workers.some(({ counts }) => counts.received > 0);
  await stage.wait(anything, `anything to arrive at the workers: is ${stage.plan.name} a backend that processes can share?`, 15_000);
}

// ---- the fault
/** A point in time to come back to: when some order that is handled about now was published. */
export async function remember(stage: Stage): Promise<Moment> {
  const { orders: all } = stage.setting;
  await stage.wait(() => stage.handled.size >= all * EARLY, "the first orders to be handled");
  const worker = stage.workers.find(({ moment }) => moment !== undefined);
  if (worker?.moment === undefined) throw new TourError("no worker has said what it received");
  return worker.moment;
}

export async function fault(stage: Stage): Promise<void> {
  const { plan, setting } = stage;
  await stage.wait(() => stage.handled.size >= setting.orders * MIDDLE, "the middle of the tour");
  if (!setting.fault) note(stage, "fault", { shown: false, because: "left out (--no-fault)" });
  else if (plan.fault === "kill") await kill(stage);
  else if (plan.fault === "cut") await cut(stage);
  else note(stage, "fault", { shown: false, because: `${plan.name} can't count what a group loses (delivery.group: at-most-once)` });
}

async function kill(stage: Stage): Promise<void> {
  const { screen } = stage.setting;
  const victim = find(stage, VICTIM);
  // Frozen it can be looked at: it is killed only with work in its hands.
  let held = 0;
  let enough = BUSY;
  await stage.wait(async () => {
    await victim.freeze();
    held = victim.read().held.size;
    if (held >= enough) return true;
    enough = Math.max(1, enough - 1);
    await victim.thaw();
    if (stage.idle) await stage.more(2);
    return false;
  }, `${VICTIM} to have work in its hands`);
  stage.record({ type: "info", f: "crash", unit: "process", target: VICTIM });
  await victim.kill();
  screen.story(
    "kill -9",
    `${VICTIM} is killed with ${count(held, "order")} in its hands. ${SUBSTITUTE} takes its place.`,
    `What it had not acknowledged comes again, to the others, when ${stage.leaseMs > 0 ? `its lease of ${seconds(stage.leaseMs)} is over` : "the group has given it up"}.`,
  );
  note(stage, "fault", SHOWN, `${VICTIM} was killed (SIGKILL) with ${count(held, "order")} in its hands`);
  stage.replace(SUBSTITUTE);
}

async function cut(stage: Stage): Promise<void> {
  const { proxy, producers, plan, setting } = stage;
  const { screen } = setting;
  const victim = find(stage, VICTIM);
  if (proxy === undefined) {
    const because = `${plan.name}: BROKER_URL names no host and port, so no link can be cut`;
    note(stage, "fault", { shown: false, because });
    return;
  }
  // It must know both producers, or their first message after the cut would say nothing about what came before it.
  const known = producers.map(({ name, counts }) => orderId(name, counts.confirmed - 1));
  await stage.wait(() => known.every((id) => victim.handled.has(id)), `${VICTIM} to hear of both producers`);
  const began = performance.now();
  stage.record({ type: "info", f: "crash", unit: "shard", target: VICTIM, topic: orders.name, group: VICTIM });
  proxy.refuse();
  proxy.cut();
  const at = stage.confirmed;
  screen.story(
    "cut",
    `The link of ${VICTIM} is cut while the orders go on.`,
    "What comes meanwhile is not kept for it. The SDK must say how many it missed.",
  );
  await stage.wait(() => stage.confirmed >= at + setting.orders * MISSED, "the producers to go on");
  await proxy.accept();
  const back = producers.map(({ name, counts }) => ({ name, from: counts.confirmed }));
  await again(stage, victim, back);
  const ms = performance.now() - began;
  const { lost, unknown } = victim.counts;
  const missed = unknown ? `${number(lost)} or more` : number(lost);
  screen.story("back", `${VICTIM} is back after ${seconds(ms)}; by its SDK's count it missed ${missed}.`);
  note(stage, "fault", SHOWN, `${VICTIM}'s link was cut for ${seconds(ms)}; the SDK counted ${missed} lost`);
}

/** Until the worker hears both producers again. Orders come one by one meanwhile, and only when it should hear them: they are not endless. */
async function again(stage: Stage, victim: Member, producers: readonly { readonly name: string; readonly from: number }[]): Promise<void> {
  const heard = new Set<string>();
  const listen = (): boolean => {
    for (const { name, from } of producers) {
      for (let n = from; !heard.has(name) && n < stage.setting.orders; n++) {
        const id = orderId(name, n);
        if (victim.handled.has(id)) heard.add(name);
        else if (!stage.handled.has(id)) break;
      }
    }
    return heard.size === producers.length;
  };
  let last = performance.now();
  await stage.wait(async () => {
    if (listen()) return true;
    if (!victim.healthy || !stage.idle || performance.now() - last < SPARING_MS) return false;
    last = performance.now();
    await stage.more(1);
    return false;
  }, `${victim.name} to be back`);
}

// ---- replay
export async function replay(stage: Stage, moment: Moment): Promise<Reader | undefined> {
  const { plan, setting } = stage;
  if (!plan.replay.shown) {
    note(stage, "replay", plan.replay);
    return undefined;
  }
  const byTime = plan.replayFrom === "time";
  const from = byTime ? new Date(moment.publishedAt) : "earliest";
  const handled = stage.handled.size;
  const opened = historyTime();
  let read = 0;
  let events: HistoryRecord[] = [];
  for await (const { topic, id, key, payload, place: position } of stage.topic.replay({ from })) {
    events.push({ type: "ok", f: "receive", topic, group: REPLAY, key, id, hash: digest(payload), position });
    // However short it is: the group must be seen at work while it is open.
    if (++read === 1) await atWork(stage, handled);
    if (events.length < 200) continue;
    stage.record(events);
    events = [];
  }
  if (events.length > 0) stage.record(events);
  const ended = historyTime();
  const meanwhile = number(stage.handledBetween(opened, ended));
  const since = byTime ? `since ${new Date(moment.publishedAt).toISOString().slice(11, 23)}` : "from the beginning";
  setting.screen.story(
    "replay",
    `${count(read, "order")} ${since} read again in ${Math.round(ended - opened)} ms; the workers handled ${meanwhile} meanwhile.`,
    "A replay reads what was published and moves no group: the verdict below would show it.",
  );
  note(stage, "replay", SHOWN, `${count(read, "order")} ${since}, while the group handled ${meanwhile}`);
  // What was published after that order was confirmed is due; its own moment, by the backend's clock, may be a little earlier.
  return { name: REPLAY, since: byTime ? stage.confirmedAt(moment.id) : 0, until: opened };
}

/** Until the group has handled more than it had. */
async function atWork(stage: Stage, handled: number): Promise<void> {
  await stage.wait(async () => {
    if (stage.handled.size > handled) return true;
    if (stage.idle) await stage.more(1);
    return false;
  }, "the workers to handle something during the replay");
}

// ---- the rest
export async function rest(stage: Stage): Promise<void> {
  const { plan, setting } = stage;
  const { screen } = setting;
  await stage.complete();
  await stage.upto(1);
  const poisoned = plan.deadLetter.shown ? 1 : 0;
  const everything = (): boolean => {
    if (stage.confirmed < setting.orders) return false;
    if (plan.way === "group") return stage.handled.size >= setting.orders - poisoned;
    return stage.workers.every(({ handled, counts }) => handled.size + counts.lost >= setting.orders);
  };
  const all = await stage.settled(everything, "the rest of the orders");
  if (plan.lag.shown) {
    const none = async (): Promise<boolean> => {
      stage.lag = (await stage.topic.group(GROUP).lag()).messages;
      // Some can't say what other processes hold: what is not known is not waited for.
      return (stage.lag ?? 0) === 0;
    };
    await stage.settled(none, "the lag to be 0");
  }
  const lag = plan.lag.shown
    ? ` Lag ${stage.lag === undefined ? "unknown" : number(stage.lag)}, at most ${number(stage.peakLag)} on the way.`
    : "";
  const what = all
    ? `Every order is handled${poisoned > 0 ? " but the dead letter" : ""}.`
    : "Nothing moves any more, and not every order is handled.";
  screen.story("drained", `${what}${lag}`);
  note(stage, "lag", plan.lag, `${number(stage.peakLag)} at most, ${stage.lag === undefined ? "unknown" : number(stage.lag)} at the end`);
}

// ---- the dead letter
export async function deadLetter(stage: Stage): Promise<void> {
  const { plan, setting, topic } = stage;
  const { screen } = setting;
  if (!plan.deadLetter.shown) {
    note(stage, "dead letter", plan.deadLetter);
    return;
  }
  const { deadLetters } = topic.group(GROUP);
  await stage.wait(async () => (await deadLetters.count()) > 0, "the order that nobody can bill to become a dead letter", 15_000);
  const letters: DeadLetter[] = [];
  for await (const letter of deadLetters.list()) letters.push(letter);
  const [letter] = letters;
  if (letter === undefined) throw new TourError("the dead letter is not listed");
  screen.story(
    "list",
    `${count(letters.length, "dead letter")}: ${letter.id}, ${letter.attempts} attempts, "${letter.error?.message ?? letter.reason}".`,
  );
  await writeFile(setting.fix, "");
  const { moved } = await deadLetters.redrive();
  await stage.settled(() => letters.every(({ id }) => stage.handled.has(id)), "the redriven order to be handled");
  const left = await deadLetters.count();
  screen.story(
    "redrive",
    `The bug is fixed; ${number(moved)} redriven to "${GROUP}" and handled; ${number(left)} left.`,
    "It went to the group that failed, and to no other.",
  );
  note(stage, "dead letter", SHOWN, `${letter.id} after ${letter.attempts} attempts; redriven after the fix and handled`);
}

// ---- what the table will say
const SHOWN: Step = { shown: true };

function note(stage: Stage, step: string, can: Step, text = ""): void {
  stage.shown.push({ step, shown: can.shown, text: can.shown ? text : can.because });
}

function find(stage: Stage, name: string): Member {
  const member = stage.workers.find((worker) => worker.name === name);
  if (member === undefined) throw new TourError(`there is no ${name}`);
  return member;
}
