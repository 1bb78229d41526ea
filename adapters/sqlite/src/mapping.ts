import { Buffer } from "node:buffer";
import type { Cut, Place, Shard, WireDelivery, WireHeader, WireRecord } from "brokerkit/driver";
import { SEQ_MASK } from "./scripts/schema.ts";

/** A topic is one shard. What a group alone gets comes by a second. */
export const TOPIC_SHARD = "0";
export const INBOX_SHARD = "inbox";

/** The columns of a message that make a delivery. */
export const MESSAGE: string = `m.pos & ${SEQ_MASK} AS seq, m.id, m.published, m.klen, m.hlen, m.data`;
export type MessageRow = Packed & { readonly seq: number; readonly id: string; readonly published: number };
export type Packed = { readonly klen: number | null; readonly hlen: number | null; readonly data: Uint8Array };

/** In whose hands a delivery is, and what it takes to settle it. */
export type Ownership = { readonly shard: Shard; readonly log: number; readonly token: number; readonly leaseUntil: number };
export type Handed = WireDelivery & Ownership & { readonly seq: number };

export function placeOf(shard: string, seq: number): Place {
  return `${shard}:${seq}` as Place;
}

/** The seq that a cut names; 0 for a topic's beginning. Core has checked its form. */
export function seqOf(cut: Cut): number {
  return Number(cut.get(TOPIC_SHARD)?.split(":")[1] ?? 0);
}

export function cutAt(seq: number): Cut {
  return seq === 0 ? new Map() : new Map([[TOPIC_SHARD, placeOf(TOPIC_SHARD, seq)]]);
}

/** Key, headers and body as one blob: making a buffer is most of what reading a row costs. */
export function pack({ key, headers, body }: WireRecord): Packed {
  const klen = key?.length ?? 0;
  let hlen = 0;
  for (const [name, value] of headers) hlen += 6 + Buffer.byteLength(name) + value.length;
  const data = Buffer.allocUnsafe(klen + hlen + (body?.length ?? 0));
  if (key !== undefined) data.set(key);
  let at = klen;
  for (const [name, value] of headers) {
    const length = data.write(name, at + 6);
    data.writeUInt16LE(length, at);
    data.writeUInt32LE(value.length, at + 2);
    data.set(value, at + 6 + length);
    at += 6 + length + value.length;
  }
  if (body !== null) data.set(body, at);
  return { klen: key === undefined ? null : klen, hlen: body === null ? null : hlen, data };
}

function unpackHeaders(data: Buffer, from: number, to: number): WireHeader[] {
  const headers: WireHeader[] = [];
  for (let at = from; at < to; ) {
    const value = at + 6 + data.readUInt16LE(at);
    const next = value + data.readUInt32LE(at + 2);
    headers.push([data.toString("utf8", at + 6, value), data.subarray(value, next)]);
    at = next;
  }
  return headers;
}

export function handOut(row: MessageRow, ownership: Ownership, deliveries: number, failures: number): Handed {
  const { shard, log, token, leaseUntil } = ownership;
  const data = Buffer.from(row.data.buffer, row.data.byteOffset, row.data.length);
  const headersAt = row.klen ?? 0;
  const bodyAt = row.hlen === null ? data.length : headersAt + row.hlen;
  const key = row.klen === null ? undefined : data.subarray(0, row.klen);
  const headers = unpackHeaders(data, headersAt, bodyAt);
  const body = row.hlen === null ? null : data.subarray(bodyAt);
  const { id, seq, published: publishedAt } = row;
  const place = placeOf(shard.id, seq);
  const inbox = shard.id === INBOX_SHARD;
  return { shard, place, id, key, headers, body, publishedAt, deliveries, failures, inbox, leaseUntil, log, seq, token };
}
