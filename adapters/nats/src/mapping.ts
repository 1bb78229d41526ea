import { isUtf8 } from "node:buffer";
import type { WireHeader, WireRecord } from "brokerkit/driver";

/** What the server's dedupe window looks at: https://docs.nats.io/using-nats/developer/develop_jetstream/model_deep_dive#message-deduplication */
const DEDUPE = "Nats-Msg-Id";
const META = "brokerkit-1";
const ID = "brokerkit-id";
const KEY = "brokerkit-key";
const SEQUENCE = "brokerkit-seq";
/** Stands before names that NATS can't carry or gives a meaning to. */
const ESCAPED = "brokerkit-x-";
/** Stands before values that NATS can't carry as they are. */
const ENCODED = "=?b64?";
const FIRST = "NATS/1.0\r\n";
const OURS = `\r\n${META}: `;
const BEYOND_ASCII = /[\x80-\xff]/;
const [BODY, FAILURES, DELAY] = [1, 2, 4];
const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);

/** What a message says beside the subject and the server's own numbers. */
export interface Decoded {
  /** `undefined`: a foreign message without an id. */
  readonly id: string | undefined;
  readonly key: Buffer | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Buffer | null;
  /** `undefined`: a foreign message, which does not say. */
  readonly publishedAt: number | undefined;
  readonly failures: number;
  readonly delayMs: number;
  /** Which publisher's how manieth message of its subject it is; core NATS only. */
  readonly sequence: string | undefined;
}

/**
 * The header block of a record in Latin-1: every byte is one character. `dedupe`: the server is to look at the dedupe id. `sequence`: what
 * `Decoded.sequence` gives back. README.md has the whole format.
 */
export function encodeHeaders(record: WireRecord, dedupe: boolean, sequence = ""): string {
  const { id, dedupeId, key, headers, body, publishedAt, failures, delayMs } = record;
  let text = FIRST;
  if (dedupe) text += `${DEDUPE}: ${textValue(dedupeId)}\r\n`;
  if (!dedupe || id !== dedupeId) text += `${ID}: ${textValue(id)}\r\n`;
  const parts = (body === null ? 0 : BODY) | (failures === undefined ? 0 : FAILURES) | (delayMs === undefined ? 0 : DELAY);
  text += `${META}: ${Math.trunc(publishedAt)} ${parts}`;
  if (failures !== undefined) text += ` ${failures}`;
  if (delayMs !== undefined) text += ` ${Math.ceil(delayMs)}`;
  text += "\r\n";
  if (sequence !== "") text += `${SEQUENCE}: ${sequence}\r\n`;
  if (key !== undefined) text += `${KEY}: ${bytesValue(key)}\r\n`;
  for (const [name, value] of headers) text += `${nameOf(name)}: ${bytesValue(value)}\r\n`;
  return `${text}\r\n`;
}

/** Nearly all ids. */
const PLAIN = /^[!-<>-~][!-~]*$/;

function textValue(text: string): string {
  if (PLAIN.test(text)) return text;
  return /^[\x21-\x7e]+$/.test(text) && !text.startsWith(ENCODED) ? text : bytesValue(Buffer.from(text));
}

/** As they are where they are text that nobody trims or splits, else in base 64. */
function bytesValue(value: Uint8Array): string {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const text = bytes.toString("latin1");
  const plain = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/.test(text);
  if (plain && !text.startsWith(ENCODED) && (!BEYOND_ASCII.test(text) || isUtf8(bytes))) return text;
  return ENCODED + bytes.toString("base64");
}

function nameOf(name: string): string {
  if (/^[A-Za-z0-9._-]+$/.test(name) && !/^(nats-|brokerkit-(1|id|key|seq|x-))/i.test(name)) return name;
  return ESCAPED + encodeURIComponent(name);
}

/** Nearly all messages of ours: an id that needs no decoding, the time, and perhaps a number; neither key nor headers nor failures. */
const USUAL =
  /^NATS\/1\.0\r\n(?:Nats-Msg-Id|brokerkit-id): ([!-<>-~][!-~]*)\r\nbrokerkit-1: (\d+) ([01])\r\n(?:brokerkit-seq: ([^\r]+)\r\n)?\r\n$/;

/** The parts of a message, ours or of anybody. `text` is the header block in Latin-1: every byte is one character. */
export function decode(text: string | undefined, body: Buffer): Decoded {
  if (text === undefined) return foreign(undefined, NO_HEADERS, body);
  const usual = USUAL.exec(text);
  if (usual !== null) {
    const [, id, at, has, sequence] = usual;
    return {
      id,
      key: undefined,
      headers: NO_HEADERS,
      body: has === "0" ? null : body,
      publishedAt: Number(at),
      failures: 0,
      delayMs: 0,
      sequence,
    };
  }
  // No value holds a line break, so this is a header's beginning.
  const ours = text.includes(OURS);
  let headers: WireHeader[] | undefined;
  let [meta, id, dedupeId, key, sequence]: (string | undefined)[] = [];
  for (let at = text.indexOf("\r\n") + 2, end = 0; at < text.length; at = end + 2) {
    end = text.indexOf("\r\n", at);
    if (end === -1) end = text.length;
    const colon = text.indexOf(":", at);
    if (colon === -1 || colon >= end) continue;
    const name = text.slice(at, colon);
    let [from, to] = [colon + 1, end];
    while (from < to && isBlank(text.charCodeAt(from))) from++;
    while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
    const value = text.slice(from, to);
    if (name === DEDUPE) dedupeId ??= value;
    else if (ours && name === META) meta = value;
    else if (ours && name === ID) id = value;
    else if (ours && name === KEY) key = value;
    else if (ours && name === SEQUENCE) sequence = value;
    else {
      headers ??= [];
      headers.push([ours && name.startsWith(ESCAPED) ? unescaped(name) : utf8(name), ours ? bytesOf(value) : Buffer.from(value, "latin1")]);
    }
  }
  const list = headers ?? NO_HEADERS;
  if (meta === undefined) return foreign(dedupeId === undefined ? undefined : utf8(dedupeId), list, body);
  const [publishedAt = Number.NaN, flags = 0, ...more] = meta.split(" ").map(Number);
  // Somebody else took the name.
  if (Number.isNaN(publishedAt)) return foreign(dedupeId === undefined ? undefined : utf8(dedupeId), list, body);
  const own = id ?? dedupeId;
  return {
    id: own === undefined ? undefined : own.startsWith(ENCODED) ? bytesOf(own).toString() : utf8(own),
    key: key === undefined ? undefined : bytesOf(key),
    headers: list,
    body: (flags & BODY) === 0 ? null : body,
    publishedAt,
    failures: (flags & FAILURES) === 0 ? 0 : more[0] || 0,
    delayMs: (flags & DELAY) === 0 ? 0 : more.at(-1) || 0,
    sequence,
  };
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function foreign(id: string | undefined, headers: readonly WireHeader[], body: Buffer): Decoded {
  return { id, key: undefined, headers, body, publishedAt: undefined, failures: 0, delayMs: 0, sequence: undefined };
}

function bytesOf(value: string): Buffer {
  return value.startsWith(ENCODED) ? Buffer.from(value.slice(ENCODED.length), "base64") : Buffer.from(value, "latin1");
}

function utf8(latin1: string): string {
  return BEYOND_ASCII.test(latin1) ? Buffer.from(latin1, "latin1").toString() : latin1;
}

/** Names that others have written so, and that stand for nothing, stay as they are. */
function unescaped(name: string): string {
  try {
    return decodeURIComponent(name.slice(ESCAPED.length));
  } catch {
    return name;
  }
}
