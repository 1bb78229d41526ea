import type { Shard, WireDelivery, WireHeader, WireRecord } from "brokerkit/driver";
import { buffer } from "../client.ts";

/** Magic and version, epoch of the channel's counter, number of the first message, how many. */
const HEAD = 24;
const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);

/** The first four bytes of a frame: magic and version. README.md has the whole format. */
export const MAGIC: Buffer = Buffer.from([0x9e, 0x62, 0x6b, 0x01]);

export interface Frame {
  readonly epoch: string;
  readonly first: number;
  readonly messages: readonly WireDelivery[];
}

/** Bytes of a record in a frame, at the most. */
export function sizeOf({ id, key, headers, body }: WireRecord): number {
  let size = 21 + id.length * 3 + (key?.length ?? 0) + (body?.length ?? 0);
  for (const [name, value] of headers) size += 6 + name.length * 3 + value.length;
  return size;
}

/** The records of one frame, without its head, which the server writes. */
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
    at = out.writeUInt16BE(length, at) + length;
    if (key !== undefined) put(key);
    if (headers.length > 0) put(encodeHeaders(headers));
    if (body !== null) put(body);
  }
  return out.subarray(0, at);
}

/** `undefined`: no frame of ours, or not a whole one. */
export function decodeFrame(bytes: Buffer, shard: Shard): Frame | undefined {
  if (bytes.length < HEAD || bytes.compare(MAGIC, 0, MAGIC.length, 0, MAGIC.length) !== 0) return undefined;
  let at = HEAD;
  const take = (): Buffer => {
    const start = at + 4;
    at = start + bytes.readUInt32BE(at);
    if (at > bytes.length) throw new RangeError("A frame is shorter than it says.");
    return bytes.subarray(start, at);
  };
  const messages: WireDelivery[] = [];
  try {
    for (let left = bytes.readUInt32BE(20); left > 0; left--) {
      const flags = bytes.readUInt8(at);
      const publishedAt = bytes.readUIntBE(at + 1, 6);
      const start = at + 9;
      at = start + bytes.readUInt16BE(at + 7);
      const id = bytes.toString("utf8", start, at);
      const key = (flags & 2) === 0 ? undefined : take();
      const headers = (flags & 4) === 0 ? NO_HEADERS : (decodeHeaders(take()) ?? NO_HEADERS);
      messages.push(message(shard, id, key, headers, (flags & 1) === 0 ? null : take(), publishedAt));
    }
  } catch {
    return undefined;
  }
  return { epoch: String(bytes.readBigUInt64BE(4)), first: Number(bytes.readBigUInt64BE(12)), messages };
}

/** Name length (2 bytes), name, value length (4 bytes), value, for each: repeated names and binary values survive. Big-endian. */
function encodeHeaders(headers: readonly WireHeader[]): Buffer {
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
function decodeHeaders(bytes: Buffer): WireHeader[] | undefined {
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

/** A message of somebody who knows nothing of frames: a bare body. */
export function foreignMessage(body: Buffer, shard: Shard, id: string, receivedAt: number): WireDelivery {
  return message(shard, id, undefined, NO_HEADERS, body, receivedAt);
}

/** What `?plain=true` sends. */
export function plainBody({ body }: WireRecord): Buffer {
  return body === null ? Buffer.alloc(0) : buffer(body);
}

function message(
  shard: Shard,
  id: string,
  key: Buffer | undefined,
  headers: readonly WireHeader[],
  body: Buffer | null,
  publishedAt: number,
): WireDelivery {
  const leaseUntil = Number.POSITIVE_INFINITY;
  return { shard, place: undefined, id, key, headers, body, publishedAt, deliveries: 1, failures: 0, inbox: false, leaseUntil };
}
