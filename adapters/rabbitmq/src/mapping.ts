import { createHash, randomBytes } from "node:crypto";
import { driverError } from "brokerkit/driver";

/** https://www.rabbitmq.com/docs/queues#names */
const MAX_NAME = 255;
const [LOCK, SYNC] = ["~lock", "~sync"];
/** Steps of a delay within each power of two, and the shortest one. */
const [STEPS, SHORTEST_MS] = [8, 16];

/** The exchange of a topic. Topics have no `~`, groups neither `~` nor dots, so that no two names meet. */
export function exchangeOf(topic: string): string {
  // The server keeps the names that begin so to itself.
  return name(topic.startsWith("amq.") ? `~${topic}` : topic);
}

/** The queue of a group, which is its inbox as well. */
export function queueOf(topic: string, group: string): string {
  return name(`${exchangeOf(topic)}.${group}`);
}

/** The stream beside a topic. */
export function logOf(topic: string): string {
  return name(`${exchangeOf(topic)}~log`);
}

/** The register that names the groups of a topic, which a client of this protocol can't list. */
export function groupsOf(topic: string): string {
  return name(`${exchangeOf(topic)}~groups`);
}

/** The queue of a register; names that are too long for one are told apart by a hash. */
export function registerOf(register: string): string {
  const plain = `brokerkit~register~${register}`;
  return plain.length <= MAX_NAME - LOCK.length ? plain : `brokerkit~register~~${createHash("sha256").update(register).digest("hex")}`;
}

/** What somebody holds who reads or writes a register. */
export function lockOf(queue: string): string {
  return name(queue + LOCK);
}

/** A queue that is there for a moment only; each call names another one. */
export function syncOf(queue: string): string {
  const suffix = `${SYNC}~${randomBytes(6).toString("hex")}`;
  return name(`${queue.slice(0, MAX_NAME - suffix.length)}${suffix}`);
}

/** Where messages for a topic, or for one group of it, wait for `ms`. */
export function delayOf(topic: string, group: string | undefined, ms: number): string {
  return name(group === undefined ? `${exchangeOf(topic)}~delay~${ms}` : `${queueOf(topic, group)}~retry~${ms}`);
}

function name(text: string): string {
  if (text.length <= MAX_NAME) return text;
  throw driverError("INVALID_ARGUMENT", `The name "${text.slice(0, 60)}…" has ${text.length} characters, and AMQP takes ${MAX_NAME}.`);
}

/** A delay as there are queues for it: rounded up by an eighth at the most, so that few queues serve all delays. */
export function roundedDelay(ms: number): number {
  const step = Math.max(SHORTEST_MS, 2 ** Math.floor(Math.log2(Math.max(1, ms))) / STEPS);
  return Math.ceil(ms / step) * step;
}

/** Every rounded delay there is up to `maxMs`. */
export function delays(maxMs: number): number[] {
  const found: number[] = [];
  for (let ms = SHORTEST_MS; ms <= roundedDelay(maxMs); ms = roundedDelay(ms + 1)) found.push(ms);
  return found;
}
