import { createHash } from "node:crypto";
import { driverError, type WireHeader, type WireRecord } from "brokerkit/driver";
import type { Header, HeaderValue, Properties } from "./frames.ts";

/** On what the driver leaves for itself, in a log to find its end by, or in a queue to have what stands before it written down. */
export const MARK = "brokerkit-mark";
const META = "brokerkit-1";
const KEY = "brokerkit-key";
/** What a message has: a body (a tombstone has none, which AMQP can't tell from an empty one), a count of failures, a delay, an end. */
const [BODY, FAILURES, DELAY, TTL] = [1, 2, 4, 8];
const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);
const NO_NUMBERS: readonly number[] = Object.freeze([]);
const NOTHING = Buffer.alloc(0);
/** What a server writes into headers: https://www.rabbitmq.com/docs/dlx#effects and …/quorum-queues#poison-message-handling */
const SERVERS = /^(x-(death|first-death-.*|last-death-.*|delivery-count|acquired-count|stream-offset|stream-filter-value)|CC|BCC)$/;
/** Stands before names that the server or the client gives a meaning of its own. */
const [ESCAPED, PROTO] = ["brokerkit-x-", "__proto__"];
/** The client writes all headers into a buffer of this size: the names and marks of the table are counted generously. */
const MAX_HEADERS = 65_000;
const PER_HEADER = 6;
const [SPACE, ZERO, NINE] = [0x20, 0x30, 0x39];

/** A message as the client gives it, whoever wrote it. */
export interface Message {
  readonly content: Buffer;
  readonly fields: { readonly exchange: string; readonly routingKey: string; readonly redelivered: boolean };
  readonly properties: {
    readonly headers?: Readonly<Record<string, unknown>> | undefined;
    readonly messageId?: unknown;
    readonly timestamp?: unknown;
    readonly contentType?: unknown;
  };
}

/** What a message says, ours or of anybody. */
export interface Decoded {
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Buffer | null;
  /** Epoch ms; 0: a foreign message, which does not say. */
  readonly publishedAt: number;
  readonly failures: number;
  /** When it is too old to be handed out, epoch ms; only of messages with a delay as well. */
  readonly expiresAt: number;
}

/** A body and the properties it is published with. README.md has the whole format. */
export function encode(record: WireRecord): { readonly body: Uint8Array; readonly properties: Properties } {
  const { id, key, body, publishedAt, failures, delayMs = 0, ttlMs, priority } = record;
  const both = delayMs > 0 && ttlMs !== undefined;
  const parts = (body === null ? 0 : BODY) | (failures === undefined ? 0 : FAILURES) | (delayMs > 0 ? DELAY : 0) | (both ? TTL : 0);
  let meta = `${Math.trunc(publishedAt)} ${parts}`;
  if (failures !== undefined) meta += ` ${failures}`;
  if (both) meta += ` ${Math.trunc(publishedAt + delayMs + ttlMs)}`;
  const headers: Header[] = [[META, meta]];
  let size = META.length + meta.length + 2 * PER_HEADER;
  if (key !== undefined) {
    headers.push([KEY, key]);
    size += KEY.length + key.length + PER_HEADER;
  }
  if (record.headers.length > 0) size += addHeaders(headers, record.headers);
  if (size > MAX_HEADERS)
    throw driverError("TOO_LARGE", `${size} bytes of headers are more than the ${MAX_HEADERS} that fit into a frame. Nothing was sent.`);
  const timestamp = Math.trunc(publishedAt / 1_000);
  const expiration = ttlMs === undefined || both ? undefined : String(Math.ceil(ttlMs));
  return { body: body ?? NOTHING, properties: { headers, messageId: id, timestamp, expiration, priority } };
}

/** Adds an application's headers and returns their size. AMQP takes a name once: the values of a repeated one become a list. */
function addHeaders(headers: Header[], given: readonly WireHeader[]): number {
  const places = new Map<string, number>();
  let size = 0;
  for (let n = 0; n < given.length; n++) {
    const [own, bytes] = given[n] as WireHeader;
    const name = own === PROTO || SERVERS.test(own) ? ESCAPED + own : own;
    size += name.length + bytes.length + PER_HEADER;
    const place = places.get(name);
    if (place !== undefined) headers[place] = [name, [...listOf(headers[place] as Header), bytes]];
    else places.set(name, headers.push([name, bytes]) - 1);
  }
  return size;
}

function listOf([, value]: Header): readonly HeaderValue[] {
  return Array.isArray(value) ? value : [value as HeaderValue];
}

/** Whether it is the driver's own, and nobody's message. */
export function isMark({ properties }: Pick<Message, "properties">): boolean {
  return properties.headers?.[MARK] !== undefined;
}

export function decode(message: Message): Decoded {
  const { content, properties } = message;
  const { headers = {}, messageId } = properties;
  const meta = headers[META];
  const numbers = typeof meta === "string" ? numbersIn(meta) : NO_NUMBERS;
  const [at = Number.NaN, parts = 0] = numbers;
  const ours = typeof messageId === "string" && at >= 0;
  let list: WireHeader[] | undefined;
  for (const header in headers) {
    if ((ours && (header === META || header === KEY)) || SERVERS.test(header)) continue;
    list ??= [];
    const given = headers[header];
    const own = ours && header.startsWith(ESCAPED) ? header.slice(ESCAPED.length) : header;
    for (const one of ours && Array.isArray(given) ? given : [given]) list.push([own, bytesOf(one)]);
  }
  if (!ours) return foreign(message, list ?? NO_HEADERS);
  return {
    id: messageId,
    key: headers[KEY] === undefined ? undefined : bytesOf(headers[KEY]),
    headers: list ?? NO_HEADERS,
    body: (parts & BODY) === 0 ? null : content,
    publishedAt: at,
    failures: (parts & FAILURES) === 0 ? 0 : (numbers[2] ?? 0),
    expiresAt: (parts & TTL) === 0 ? Number.POSITIVE_INFINITY : (numbers[(parts & FAILURES) === 0 ? 2 : 3] ?? Number.POSITIVE_INFINITY),
  };
}

/** Whole numbers with a space between; none where it is anything else. Every message has some, so no text is made of them. */
function numbersIn(meta: string): readonly number[] {
  const numbers: number[] = [];
  let number = 0;
  for (let n = 0; n < meta.length; n++) {
    const code = meta.charCodeAt(n);
    if (code === SPACE) {
      numbers.push(number);
      number = 0;
    } else if (code >= ZERO && code <= NINE) number = number * 10 + code - ZERO;
    else return NO_NUMBERS;
  }
  numbers.push(number);
  return numbers;
}

function foreign(message: Message, headers: readonly WireHeader[]): Decoded {
  const { messageId, timestamp, contentType } = message.properties;
  const type: readonly WireHeader[] =
    typeof contentType === "string" && !headers.some(([header]) => header === "content-type")
      ? [["content-type", Buffer.from(contentType)]]
      : [];
  return {
    id: typeof messageId === "string" && messageId !== "" ? messageId : derivedId(message),
    key: undefined,
    headers: type.length === 0 ? headers : [...headers, ...type],
    body: message.content,
    publishedAt: typeof timestamp === "number" ? timestamp * 1_000 : 0,
    failures: 0,
    expiresAt: Number.POSITIVE_INFINITY,
  };
}

/** The same at each delivery; messages that are alike in every respect share it. */
function derivedId({ content, properties }: Message): string {
  const { headers = {}, timestamp } = properties;
  const own = Object.entries(headers).filter(([header]) => !SERVERS.test(header));
  const hash = createHash("sha256")
    .update(JSON.stringify([timestamp, own]))
    .update(content);
  return `amqp-${hash.digest("base64url").slice(0, 27)}`;
}

/** Text as UTF-8, bytes as they are, and all other types of AMQP as people write them. */
function bytesOf(given: unknown): Buffer {
  if (typeof given === "string") return Buffer.from(given);
  if (Buffer.isBuffer(given)) return given;
  if (given === null || given === undefined) return NOTHING;
  if (typeof given !== "object") return Buffer.from(String(given));
  const { "!": type, value: inner } = given as { "!"?: unknown; value?: unknown };
  if (type === "timestamp") return Buffer.from(new Date(Number(inner) * 1_000).toISOString());
  return Buffer.from(JSON.stringify(given));
}

/** How often the server has handed this message out, this time included. */
export function deliveriesOf({ fields, properties }: Message): number {
  const { "x-delivery-count": returned, "x-acquired-count": acquired } = properties.headers ?? {};
  // Quorum queues count; as of RabbitMQ 4.3 the first of the two counts failures only. Classic ones have a mark.
  const earlier = Math.max(Number(returned ?? 0) || 0, Number(acquired ?? 0) || 0);
  return earlier > 0 ? earlier + 1 : fields.redelivered ? 2 : 1;
}
