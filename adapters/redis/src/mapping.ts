import type { Cut, Place, Shard, ShardId, WireDelivery, WireHeader, WireRecord, WireStart } from "brokerkit/driver";

/** The one shard of a topic, and the group's inbox, which is read beside it. */
export const MAIN: ShardId = "0";
export const RETRY: ShardId = "retry";

/** Beyond every id that a server gives. */
export const LAST_SEQ = "18446744073709551615";

/** Keys of one stream of a group: the stream, and where what was given back waits. */
export interface LaneKeys {
  readonly stream: string;
  readonly due: string;
  readonly notes: string;
}

/** All keys of a topic. Topic names hold no colon, so nothing of one topic can be taken for something of another. */
export class TopicKeys {
  readonly stream: string;
  readonly meta: string;
  readonly delayed: string;
  readonly wake: string;

  constructor(prefix: string, topic: string) {
    this.stream = prefix + topic;
    this.meta = `${this.stream}:meta`;
    this.delayed = `${this.stream}:delayed`;
    this.wake = `${this.stream}:wake`;
  }

  inbox(group: string): string {
    return `${this.stream}.${group}.retry`;
  }

  lane(group: string, inbox: boolean): LaneKeys {
    const stream = inbox ? this.inbox(group) : this.stream;
    return { stream, due: `${stream}:${group}:due`, notes: `${stream}:${group}:notes` };
  }

  /** What a member that waits is woken by when something falls due earlier than it thought. */
  groupWake(group: string): string {
    return `${this.stream}:${group}:wake`;
  }

  /** The keys of GROUP and DROP_GROUP. */
  group(group: string): string[] {
    const [main, inbox] = [this.lane(group, false), this.lane(group, true)];
    return [
      main.stream,
      this.meta,
      main.due,
      main.notes,
      inbox.stream,
      `${inbox.stream}:delayed`,
      inbox.due,
      inbox.notes,
      this.groupWake(group),
    ];
  }

  /** The keys of RECEIVE. */
  receive(group: string): string[] {
    const [stream, meta, due, notes, ...rest] = this.group(group) as [string, string, string, string];
    return [stream, meta, this.delayed, due, notes, ...rest];
  }
}

/** `1763735000000-4` ⇄ `0:1763735000000.4`. */
export function placeOf(shard: ShardId, id: string): Place {
  return `${shard}:${id.replace("-", ".")}` as Place;
}

export function idAt(cut: Cut): string {
  const place = cut.get(MAIN);
  if (place === undefined) return "0-0";
  const [ms, seq] = place.slice(MAIN.length + 1).split(".");
  return `${ms}-${seq ?? "0"}`;
}

export function cutAt(id: string): Cut {
  return id === "0-0" || id === "" ? new Map() : new Map([[MAIN, placeOf(MAIN, id)]]);
}

/** The id behind which a reader starts; `"latest"` for the end. Times are compared with ids, which carry the server's time of storing. */
export function startId(start: WireStart): string {
  if (start.kind === "latest") return "latest";
  if (start.kind === "earliest") return "0-0";
  if (start.kind === "position") return idAt(start.cut);
  const ms = Math.max(1, Math.ceil(start.ms));
  return `${ms - 1}-${LAST_SEQ}`;
}

/** −1, 0, 1. Ids are compared by their numbers; those of one length and one time as text. */
export function compareIds(a: string, b: string): number {
  if (a === b) return 0;
  const [x, y] = [a.indexOf("-"), b.indexOf("-")];
  if (x !== y) return x < y ? -1 : 1;
  if (a.length === b.length || a.slice(0, x) !== b.slice(0, y)) return a < b ? -1 : 1;
  return a.length < b.length ? -1 : 1;
}

export function timeOf(id: string): number {
  return Number(id.slice(0, id.indexOf("-")));
}

/** A view of core's bytes as the client wants them; nothing is copied. */
export function buffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Name length (2 bytes), name, value length (4 bytes), value, for each: repeated names and binary values survive. Big-endian. */
export function encodeHeaders(headers: readonly WireHeader[]): Buffer {
  const names = headers.map(([name]) => Buffer.from(name));
  const size = headers.reduce((sum, [, value], n) => sum + 6 + (names[n]?.length ?? 0) + value.length, 0);
  const out = Buffer.allocUnsafe(size);
  let at = 0;
  for (const [n, [, value]] of headers.entries()) {
    const name = names[n] as Buffer;
    at = out.writeUInt16BE(name.length, at);
    at += name.copy(out, at);
    at = out.writeUInt32BE(value.length, at);
    out.set(value, at);
    at += value.length;
  }
  return out;
}

/** `undefined`: these bytes are no headers of ours. */
export function decodeHeaders(bytes: Buffer): WireHeader[] | undefined {
  const headers: WireHeader[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (at + 6 > bytes.length) return undefined;
    const nameEnd = at + 2 + bytes.readUInt16BE(at);
    if (nameEnd + 4 > bytes.length) return undefined;
    const valueEnd = nameEnd + 4 + bytes.readUInt32BE(nameEnd);
    if (valueEnd > bytes.length) return undefined;
    headers.push([bytes.toString("utf8", at + 2, nameEnd), bytes.subarray(nameEnd + 4, valueEnd)]);
    at = valueEnd;
  }
  return headers;
}

/** What an entry's fields say. */
export interface Content {
  id: string | undefined;
  key: Buffer | undefined;
  headers: readonly WireHeader[];
  body: Buffer | null;
  publishedAt: number;
  failures: number;
}

const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);
const BODIES = ["body", "payload", "data"];

/** An entry of ours begins with the field `bk1`: `<published-at ms> <id>`. Everything else is foreign. */
export function decodeEntry(entry: string, fields: readonly Buffer[]): Content {
  const first = fields[0];
  if (first === undefined || first.length !== 3 || first.toString("latin1") !== "bk1") return foreign(entry, fields);
  const meta = (fields[1] as Buffer).toString();
  const space = meta.indexOf(" ");
  const publishedAt = Number(meta.slice(0, space));
  const content: Content = { id: meta.slice(space + 1), key: undefined, headers: NO_HEADERS, body: null, publishedAt, failures: 0 };
  for (let n = 2; n + 1 < fields.length; n += 2) {
    const value = fields[n + 1] as Buffer;
    // Our four names differ in length, and nothing else follows `bk1`.
    const { length } = fields[n] as Buffer;
    if (length === 4) content.body = value;
    else if (length === 3) content.key = value;
    else if (length === 7) content.headers = decodeHeaders(value) ?? NO_HEADERS;
    else if (length === 8) content.failures = Number(value.toString("latin1"));
  }
  return content;
}

/**
 * The body is the field `body`, `payload` or `data`; then `key` is the key and the rest are headers. Without such a field the body is a
 * JSON object of all fields. The id follows from the place.
 */
function foreign(entry: string, fields: readonly Buffer[]): Content {
  const pairs: [string, Buffer][] = [];
  for (let n = 0; n + 1 < fields.length; n += 2) pairs.push([(fields[n] as Buffer).toString(), fields[n + 1] as Buffer]);
  const named = BODIES.find((name) => pairs.some(([field]) => field === name));
  const body = named === undefined ? jsonOf(pairs) : (pairs.find(([field]) => field === named)?.[1] ?? null);
  const rest = named === undefined ? [] : pairs.filter(([field]) => field !== named);
  const key = rest.find(([field]) => field === "key")?.[1];
  return { id: undefined, key, headers: rest.filter(([field]) => field !== "key"), body, publishedAt: timeOf(entry), failures: 0 };
}

function jsonOf(pairs: readonly (readonly [string, Buffer])[]): Buffer {
  return Buffer.from(JSON.stringify(Object.fromEntries(pairs.map(([field, value]) => [field, value.toString()]))));
}

/** One delivered entry; `entry`, `deliveries` and `epoch` are what its settlement is checked against. */
export class EntryDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly entry: string;
  readonly id: string | undefined;
  readonly key: Buffer | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Buffer | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  readonly leaseUntil: number;
  readonly epoch: number;
  /** Acknowledged or given back, or on the way to it. */
  settled = false;

  constructor(shard: Shard, entry: string, content: Content, deliveries: number, failures: number, leaseUntil: number, epoch: number) {
    this.shard = shard;
    this.entry = entry;
    this.id = content.id;
    this.key = content.key;
    this.headers = content.headers;
    this.body = content.body;
    this.publishedAt = content.publishedAt;
    this.deliveries = deliveries;
    this.failures = Math.max(failures, content.failures);
    this.inbox = shard.id === RETRY;
    this.leaseUntil = leaseUntil;
    this.epoch = epoch;
  }

  get place(): Place {
    return placeOf(this.shard.id, this.entry);
  }
}

/** Appends one record's values as PUBLISH reads them and returns its shape. */
export function appendRecord(args: (string | Buffer)[], record: WireRecord, dedupe: boolean): string {
  let shape = 0;
  args.push(`${record.publishedAt} ${record.id}`);
  if (record.body !== null) {
    shape += 1;
    args.push(buffer(record.body));
  }
  if (record.key !== undefined) {
    shape += 2;
    args.push(buffer(record.key));
  }
  if (record.headers.length > 0) {
    shape += 4;
    args.push(encodeHeaders(record.headers));
  }
  if (record.failures !== undefined && record.failures > 0) {
    shape += 8;
    args.push(String(record.failures));
  }
  if (record.delayMs !== undefined && record.delayMs > 0) {
    shape += 16;
    args.push(String(Math.ceil(record.delayMs)));
  }
  if (dedupe) args.push(record.dedupeId);
  return String.fromCharCode(48 + shape);
}
