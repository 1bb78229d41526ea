import type { Session } from "../client.ts";
import { groupMissing, isMissing, isOutOfReach, topicMissing } from "../errors.ts";
import { delayOf, delays, exchangeOf, groupsOf, logOf, queueOf } from "../mapping.ts";
import { MARK } from "./message.ts";
import { declareQueue, unlessDifferent } from "./queues.ts";

/** Far above any policy, and said in the same way to all versions: as of 4.0 a quorum queue that is not told gives up after 20. */
const DELIVERY_LIMIT = 1_000_000;
/** How long a queue for delays outlives its last message, and for how long one that was declared is taken for granted. */
const [SPARE_MS, FRESH_MS] = [120_000, 30_000];
/** What a server gives up goes to the first of these, whichever group's it was; what has only expired ends at the other. */
const [UNDELIVERED, EXPIRED] = ["brokerkit~undelivered", "brokerkit~expired"];
const EVERYTHING = "#";
/** How long a server's streams may take to start, and how often to ask. */
const [STARTING_MS, LOOK_MS] = [3_000, 50];

export interface QueueState {
  readonly messageCount: number;
  readonly consumerCount: number;
}

/** A server's own default. */
const LARGEST_SEGMENT = 500_000_000;

export interface LogBounds {
  readonly maxAgeMs: number;
  readonly maxBytes: number;
  /** `undefined`: as large as the others let it be. */
  readonly segmentBytes: number | undefined;
}

/** `undefined` where the server says that there is no such thing. */
async function unlessMissing<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

export async function hasTopic(session: Session, topic: string, signal: AbortSignal): Promise<boolean> {
  const exchange = exchangeOf(topic);
  return (await unlessMissing(session.control().aside(signal, (channel) => channel.checkExchange(exchange)))) !== undefined;
}

/**
 * Whether there is such a topic. Rejects UNAVAILABLE while its log is still starting: for that moment a server confirms what it stores in
 * queues only.
 */
export async function takesMessages(session: Session, topic: string, signal: AbortSignal): Promise<boolean> {
  const [found] = await Promise.all([hasTopic(session, topic, signal), queueState(session, logOf(topic), signal)]);
  if (found) session.known.set(exchangeOf(topic), Number.POSITIVE_INFINITY);
  return found;
}

/** Whether this topic was made with a log, and logs are used at all. */
export async function hasLog(session: Session, topic: string, signal: AbortSignal): Promise<boolean> {
  return session.settings.log && (await queueState(session, logOf(topic), signal)) !== undefined;
}

/**
 * How much waits in a queue and how many read it; `undefined`: there is none. A server that has just started says of streams that they are
 * out of reach, for some hundred milliseconds, which are waited for.
 */
export async function queueState(session: Session, queue: string, signal: AbortSignal): Promise<QueueState | undefined> {
  const { clock } = session;
  for (const until = clock.monotonic() + STARTING_MS; ; ) {
    try {
      return await unlessMissing(session.control().aside(signal, (channel) => channel.checkQueue(queue)));
    } catch (error) {
      if (!isOutOfReach(error) || clock.monotonic() >= until || signal.aborted) throw error;
    }
    await new Promise<void>((resolve) => clock.timer(LOOK_MS, resolve));
  }
}

export async function createTopic(
  session: Session,
  topic: string,
  log: LogBounds | undefined,
  signal: AbortSignal,
): Promise<"created" | "existing"> {
  const [exchange, stream] = [exchangeOf(topic), logOf(topic)];
  const existing = await hasTopic(session, topic, signal);
  // Whoever made it may have been stopped half-way; a log that it was made without is not added.
  const logged = existing ? (await queueState(session, stream, signal)) !== undefined : log !== undefined;
  await session.control().aside(signal, async (channel) => {
    // The log first: whoever finds the exchange finds all there is to be.
    if (log !== undefined && !existing)
      await unlessDifferent(`a log of "${topic}"`, channel.assertQueue(stream, { durable: true, arguments: logArguments(log) }));
    await unlessDifferent(`an exchange "${exchange}"`, channel.assertExchange(exchange, "topic", { durable: true }));
    if (logged) await channel.bindQueue(stream, exchange, EVERYTHING);
  });
  session.known.set(exchange, Number.POSITIVE_INFINITY);
  return existing ? "existing" : "created";
}

/** Retention takes whole segments that are full: small bounds need small ones. */
function segmentFor({ maxAgeMs, maxBytes }: LogBounds): number {
  return Math.floor(Math.max(1_024, Math.min((maxAgeMs / 1_000) * 1_024, maxBytes / 8, LARGEST_SEGMENT)));
}

function logArguments(bounds: LogBounds): Record<string, unknown> {
  const { maxAgeMs, maxBytes, segmentBytes = segmentFor(bounds) } = bounds;
  return {
    "x-queue-type": "stream",
    // Whole seconds, and nothing younger may go.
    "x-max-age": `${Math.ceil(maxAgeMs / 1_000) + 1}s`,
    "x-max-length-bytes": Math.ceil(maxBytes),
    "x-stream-max-segment-size-bytes": segmentBytes,
  };
}

/** The group's queue, bound: everything published from now on is in it. `exclusive`: one consumer at a time, chosen by the server. */
export async function createGroup(
  session: Session,
  topic: string,
  group: string,
  exclusive: boolean,
  signal: AbortSignal,
): Promise<"created" | "existing"> {
  const queue = queueOf(topic, group);
  const { queueType, priorities } = session.settings;
  const declared = {
    "x-queue-type": queueType,
    "x-dead-letter-exchange": UNDELIVERED,
    ...(queueType === "quorum" ? { "x-delivery-limit": DELIVERY_LIMIT } : {}),
    ...(priorities > 0 ? { "x-max-priority": priorities - 1 } : {}),
    ...(exclusive ? { "x-single-active-consumer": true } : {}),
  };
  const existing = await queueState(session, queue, signal);
  if (existing === undefined) {
    if (!(await hasTopic(session, topic, signal))) throw topicMissing(topic);
    // Before there is a queue: a group that is not known could not be deleted with its topic.
    const named = changeGroups(session, topic, (groups) => (groups.includes(group) ? undefined : [...groups, group]), signal);
    await Promise.all([safetyNet(session, topic, signal), named]);
  }
  const bound = session.control().aside(signal, async (channel) => {
    await declareQueue(channel, queue, declared, existing === undefined);
    await channel.bindQueue(queue, exchangeOf(topic), EVERYTHING);
  });
  if ((await unlessMissing(bound.then(() => true))) === undefined) throw topicMissing(topic);
  return existing === undefined ? "created" : "existing";
}

/**
 * Messages that a server gives up (a delivery limit or a length that a policy sets) are kept in one queue for an operator to see; those of
 * this topic whose time to live has ended leave by an exchange that leads nowhere, as do the driver's own.
 */
async function safetyNet(session: Session, topic: string, signal: AbortSignal): Promise<void> {
  await session.control().aside(signal, async (channel) => {
    if (!session.known.has(UNDELIVERED)) {
      const all = `${UNDELIVERED}~all`;
      await channel.assertExchange(all, "fanout", { durable: true });
      await channel.assertExchange(EXPIRED, "fanout", { durable: true });
      await channel.assertExchange(UNDELIVERED, "headers", { durable: true, alternateExchange: all });
      await declareQueue(channel, UNDELIVERED, { "x-queue-type": "classic" }, false);
      await channel.bindQueue(UNDELIVERED, all, "");
      await channel.bindExchange(EXPIRED, UNDELIVERED, "", { "x-match": "all", [MARK]: "" });
      session.known.set(UNDELIVERED, Number.POSITIVE_INFINITY);
    }
    await channel.bindExchange(EXPIRED, UNDELIVERED, "", expiredOf(topic));
  });
}

/** What waited for its time first has expired there, and came from no exchange. */
function expiredOf(topic: string): Readonly<Record<string, string>> {
  return { "x-match": "all-with-x", "x-first-death-reason": "expired", "x-first-death-exchange": exchangeOf(topic) };
}

/** A queue where messages wait; it vanishes by itself some time after the last of them. Declaring it again makes it stay. */
export async function delayQueue(
  session: Session,
  topic: string,
  group: string | undefined,
  ms: number,
  signal: AbortSignal,
): Promise<void> {
  const queue = delayOf(topic, group, ms);
  const now = session.clock.monotonic();
  if (group === undefined) {
    if (!(await takesMessages(session, topic, signal))) throw topicMissing(topic);
  } else if ((await queueState(session, queueOf(topic, group), signal)) === undefined) throw groupMissing(topic, group);
  const { queueType } = session.settings;
  const back =
    group === undefined
      ? { "x-dead-letter-exchange": exchangeOf(topic), "x-dead-letter-routing-key": topic }
      : { "x-dead-letter-exchange": "", "x-dead-letter-routing-key": queueOf(topic, group) };
  // A quorum queue lets go of a message only when the next queue has confirmed it.
  const safe = queueType === "quorum" ? { "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish" } : {};
  const declared = { "x-queue-type": queueType, "x-message-ttl": ms, "x-expires": ms + SPARE_MS, ...back, ...safe };
  const fresh = !session.known.has(queue);
  await session.control().aside(signal, (channel) => declareQueue(channel, queue, declared, fresh));
  session.known.set(queue, now + FRESH_MS);
}

/** The groups that were made by this driver, in any process. */
export async function groupsOfTopic(session: Session, topic: string, signal: AbortSignal): Promise<readonly string[]> {
  const named = namesIn((await session.registers.read(groupsOf(topic), signal))?.value);
  const states = await Promise.all(named.map((group) => queueState(session, queueOf(topic, group), signal)));
  return named.filter((_, n) => states[n] !== undefined);
}

function changeGroups(
  session: Session,
  topic: string,
  change: (groups: readonly string[]) => readonly string[] | undefined,
  signal: AbortSignal,
): Promise<void> {
  const changed = (value: Uint8Array | undefined): Uint8Array | undefined => {
    const groups = change(namesIn(value));
    return groups === undefined ? undefined : Buffer.from(groups.join("\n"));
  };
  return session.registers.update(groupsOf(topic), changed, signal);
}

function namesIn(value: Uint8Array | undefined): string[] {
  return value === undefined || value.length === 0 ? [] : Buffer.from(value).toString().split("\n");
}

export async function deleteGroup(session: Session, topic: string, group: string, signal: AbortSignal): Promise<void> {
  await deleteQueues(session, topic, group, signal);
  const without = (groups: readonly string[]): readonly string[] | undefined =>
    groups.includes(group) ? groups.filter((one) => one !== group) : undefined;
  await changeGroups(session, topic, without, signal);
}

/** The exchange goes first, so that nothing is published any more, and the names of the groups last, so that it can be done again. */
export async function deleteTopic(session: Session, topic: string, signal: AbortSignal): Promise<void> {
  session.known.delete(exchangeOf(topic));
  await session.control().aside(signal, async (channel) => {
    await channel.deleteExchange(exchangeOf(topic));
    await channel.deleteQueue(logOf(topic));
  });
  const named = namesIn((await session.registers.read(groupsOf(topic), signal))?.value);
  const unbound = session.control().aside(signal, (channel) => channel.unbindExchange(EXPIRED, UNDELIVERED, "", expiredOf(topic)));
  await unlessMissing(unbound);
  for (const group of [undefined, ...named]) await deleteQueues(session, topic, group, signal);
  await session.control().aside(signal, (channel) => channel.deleteQueue(groupsOf(topic)));
}

/** The queue of a group, and those where messages for it or for the topic wait. Deleting what is not there succeeds. */
async function deleteQueues(session: Session, topic: string, group: string | undefined, signal: AbortSignal): Promise<void> {
  const names = delays(session.maxDelayMs).map((ms) => delayOf(topic, group, ms));
  for (const name of names) session.known.delete(name);
  if (group !== undefined) names.push(queueOf(topic, group));
  await session.control().aside(signal, (channel) => Promise.all(names.map((name) => channel.deleteQueue(name))));
}
