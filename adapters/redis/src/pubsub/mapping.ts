import type { Shard, WireDelivery, WireHeader, WireRecord } from "brokerkit/driver";
import { buffer, decodeHeaders, encodeHeaders } from "../mapping.ts";

/**
 * A frame: magic and version (4 bytes), epoch of the channel's counter (8), number of the first message (8), how many (4), then for each
 * message: flags (1: 1 body, 2 key, 4 headers), published-at in ms (6), length (2) and id, then length (4) and bytes of key, headers and
 * body where the flags have them. Big-endian; headers as in streams. The server fills in epoch and number.
 */
export const MAGIC: Buffer = Buffer.from([0x9e, 0x62, 0x6b, 0x01]);
const HEAD = 24;
const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);

export interface Head {
  readonly epoch: number;
  readonly first: number;
  readonly count: number;
}

/** `undefined`: a foreign message. */
export function decodeHead(frame: Buffer): Head | undefined {
  if (frame.length < HEAD || frame.compare(MAGIC, 0, 4, 0, 4) !== 0) return undefined;
  return { epoch: Number(frame.readBigUInt64BE(4)), first: Number(frame.readBigUInt64BE(12)), count: frame.readUInt32BE(20) };
}

/** Bytes of a record in a frame, at the most. */
export function sizeOf(record: WireRecord): number {
  const headers = record.headers.reduce((sum, [name, value]) => sum + 6 + name.length * 3 + value.length, 0);
  return 21 + record.id.length * 3 + (record.key?.length ?? 0) + headers + (record.body?.length ?? 0);
}

/** The records of one frame, without its head. */
export function encodeRecords(records: readonly WireRecord[], bytes: number): Buffer {
  const out = Buffer.allocUnsafe(bytes);
  let at = 0;
  const put = (part: Uint8Array): void => {
    at = out.writeUInt32BE(part.length, at);
    out.set(part, at);
    at += part.length;
  };
  for (const { id, key, headers, body, publishedAt } of records) {
    at = out.writeUInt8((body === null ? 0 : 1) + (key === undefined ? 0 : 2) + (headers.length === 0 ? 0 : 4), at);
    at = out.writeUIntBE(Math.max(0, Math.trunc(publishedAt)), at, 6);
    const length = out.write(id, at + 2);
    out.writeUInt16BE(length, at);
    at += 2 + length;
    if (key !== undefined) put(key);
    if (headers.length > 0) put(encodeHeaders(headers));
    if (body !== null) put(body);
  }
  return out.subarray(0, at);
}

/** One message as it came. Nothing of it can be settled. */
export interface Message extends WireDelivery {
  readonly body: Buffer | null;
}

/** Reads a frame's messages one after the other; anything that is no frame is one message without key and headers. */
export class FrameReader {
  readonly bytes: number;
  /** Messages left. */
  left: number;
  readonly #frame: Buffer;
  readonly #foreign: { readonly id: string; readonly receivedAt: number } | undefined;
  #at = HEAD;

  constructor(frame: Buffer, count: number, foreign?: { readonly id: string; readonly receivedAt: number }) {
    this.#frame = frame;
    this.left = count;
    this.bytes = frame.length;
    this.#foreign = foreign;
  }

  next(shard: Shard): Message {
    this.left--;
    if (this.#foreign !== undefined) return message(shard, this.#foreign.id, undefined, NO_HEADERS, this.#frame, this.#foreign.receivedAt);
    const frame = this.#frame;
    const flags = frame.readUInt8(this.#at);
    const publishedAt = frame.readUIntBE(this.#at + 1, 6);
    const idEnd = this.#at + 9 + frame.readUInt16BE(this.#at + 7);
    const id = frame.toString("utf8", this.#at + 9, idEnd);
    this.#at = idEnd;
    const key = flags & 2 ? this.#take() : undefined;
    const headers = flags & 4 ? (decodeHeaders(this.#take()) ?? NO_HEADERS) : NO_HEADERS;
    const body = flags & 1 ? this.#take() : null;
    return message(shard, id, key, headers, body, publishedAt);
  }

  #take(): Buffer {
    const start = this.#at + 4;
    const end = start + this.#frame.readUInt32BE(this.#at);
    if (end > this.#frame.length) throw new RangeError("A frame is shorter than it says.");
    this.#at = end;
    return this.#frame.subarray(start, end);
  }
}

function message(shard: Shard, id: string, key: Buffer | undefined, headers: readonly WireHeader[], body: Buffer | null, publishedAt: number): Message {
  const leaseUntil = Number.POSITIVE_INFINITY;
  return { shard, place: undefined, id, key, headers, body, publishedAt, deliveries: 1, failures: 0, inbox: false, leaseUntil };
}

/** Whether a frame holds what its head says: checked once, so that a truncated or forged one is taken for a foreign message. */
export function isWhole(frame: Buffer, count: number): boolean {
  const reader = new FrameReader(frame, count);
  try {
    while (reader.left > 0) reader.next(SHARD);
    return true;
  } catch {
    return false;
  }
}

const SHARD: Shard = { id: "0" };

/** A body as it is; a tombstone can't be told from an empty one there. */
export function plainBody(record: WireRecord): Buffer {
  return record.body === null ? Buffer.alloc(0) : buffer(record.body);
}
