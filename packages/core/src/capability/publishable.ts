import type { BoundTopic } from "../definition.ts";
import type { Capabilities } from "../driver/capabilities.ts";
import type { WireRecord } from "../driver/wire.ts";
import { BrokerError, invalidArgument } from "../errors.ts";
import { checkNumber, type PublishOptions } from "../options.ts";
import { unsupported } from "./unsupported.ts";

const KNOWN: ReadonlySet<string> = new Set(["key", "id", "headers", "delayMs", "ttlMs", "priority", "timeoutMs", "signal", "payload"]);
const ID = /^[\x21-\x7e]{1,200}$/;

/** The publish line's first step: options that can be judged before anything is encoded. Throws `INVALID_ARGUMENT` or `UNSUPPORTED`. */
export function checkPublish(topic: BoundTopic, payload: unknown, options: PublishOptions): void {
  for (const name in options) {
    if (!KNOWN.has(name)) throw invalidArgument(name, `publish to "${topic.name}": there is no option "${name}".`);
  }
  if (payload === undefined)
    throw invalidArgument("payload", `publish to "${topic.name}": the payload is undefined. Publish null for a tombstone.`);
  const { id, key } = options;
  if (id !== undefined && !(typeof id === "string" && ID.test(id))) {
    throw invalidArgument("id", `publish to "${topic.name}": an id is 1–200 visible ASCII characters.`);
  }
  if (key !== undefined && typeof key !== "string") throw invalidArgument("key", `publish to "${topic.name}": a key is a string.`);
  if (options.timeoutMs !== undefined) checkNumber("timeoutMs", options.timeoutMs, 1);
  if (options.delayMs !== undefined) checkNumber("delayMs", options.delayMs, 0);
  if (options.ttlMs !== undefined) checkNumber("ttlMs", options.ttlMs, 1);
  if (options.priority !== undefined) checkNumber("priority", options.priority, 0, true);
}

/** The final record, after interceptors and encoding, against what this topic can carry. Throws before anything is sent. */
export function checkFinal(adapter: string, topic: BoundTopic, bytes: number, record: WireRecord): void {
  const { message, publish, delay, ttl, priority } = topic.capabilities;
  if (record.key !== undefined && !message.key) throw unsupported("key", adapter, topic.name);
  if (record.headers.length > 0 && !message.headers) throw unsupported("headers", adapter, topic.name);
  if (record.body === null && !message.tombstone) throw unsupported("tombstone", adapter, topic.name);
  if (record.delayMs !== undefined && record.delayMs > 0) within("delay", "delayMs", record.delayMs, delay.maxMs, adapter, topic);
  if (record.ttlMs !== undefined) within("ttl", "ttlMs", record.ttlMs, ttl.maxMs, adapter, topic);
  if (record.priority !== undefined) within("priority", "priority", record.priority, priority.levels - 1, adapter, topic);
  const maxBytes = Math.min(message.maxBytes, publish.maxBytes);
  if (bytes > maxBytes) throw tooLarge(adapter, topic.name, `${bytes} bytes are more than the ${maxBytes} that fit`, { bytes, maxBytes });
}

/** A record of core's own against what the backend can carry: headers of ours stand beside the message's. Throws `TOO_LARGE`. */
export function checkRecord(adapter: string, topic: string, { message, publish }: Capabilities, bytes: number, record: WireRecord): void {
  const { length } = record.headers;
  const maxBytes = Math.min(message.maxBytes, publish.maxBytes);
  const over = `${length} headers are more than the ${message.maxHeaders} that fit`;
  if (length > message.maxHeaders) throw tooLarge(adapter, topic, over, { bytes, maxBytes });
  if (bytes > maxBytes) throw tooLarge(adapter, topic, `${bytes} bytes are more than the ${maxBytes} that fit`, { bytes, maxBytes });
}

function tooLarge(adapter: string, topic: string, what: string, details: { bytes: number; maxBytes: number }): BrokerError {
  return new BrokerError("TOO_LARGE", `[${adapter}] publish to "${topic}": ${what}. Nothing was sent.`, { details, adapter, topic });
}

function within(capability: string, option: string, value: number, max: number, adapter: string, topic: BoundTopic): void {
  if (max <= 0 && !(capability === "priority" && max === 0)) throw unsupported(capability, adapter, topic.name);
  if (value > max)
    throw invalidArgument(option, `[${adapter}] publish to "${topic.name}": ${option} ${value} is more than ${max}, the most there is.`);
}
