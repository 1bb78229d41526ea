// Protobuf by hand, for what is written once a message: https://protobuf.dev/programming-guides/encoding/
// Each function writes at `at` and returns where it ended. Room is the caller's business.

/** Bytes of a varint at the most. */
export const MAX_VARINT = 10;
/** Wire types, the lower three bits of a tag. */
export const VARINT = 0;
export const LENGTH = 2;

export function varintSize(value: number): number {
  if (value < 0x80) return 1;
  if (value < 0x4000) return 2;
  if (value < 0x200000) return 3;
  return value < 0x10000000 ? 4 : 4 + varintSize(Math.floor(value / 0x10000000));
}

/** Integers from 0 to 2^53 - 1. */
export function putVarint(to: Buffer, at: number, value: number): number {
  if (!(value >= 0 && value <= Number.MAX_SAFE_INTEGER)) throw new RangeError(`${value} can't be written as an unsigned number.`);
  let rest = value;
  let next = at;
  while (rest > 0x7fffffff) {
    to[next++] = (rest % 0x80) | 0x80;
    rest = Math.floor(rest / 0x80);
  }
  while (rest > 0x7f) {
    to[next++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  to[next++] = rest;
  return next;
}

/** The 64 bits of `high` and `low`. */
export function putPair(to: Buffer, at: number, low: number, high: number): number {
  let lower = low >>> 0;
  let upper = high >>> 0;
  let next = at;
  while (upper !== 0 || lower > 0x7f) {
    to[next++] = (lower & 0x7f) | 0x80;
    lower = ((lower >>> 7) | (upper << 25)) >>> 0;
    upper >>>= 7;
  }
  to[next++] = lower;
  return next;
}

export function putNumber(to: Buffer, at: number, field: number, value: number): number {
  return putVarint(to, putVarint(to, at, (field << 3) | VARINT), value);
}

export function putBytes(to: Buffer, at: number, field: number, bytes: Uint8Array): number {
  const from = putVarint(to, putVarint(to, at, (field << 3) | LENGTH), bytes.length);
  if (bytes.length > 32) to.set(bytes, from);
  else for (let n = 0; n < bytes.length; n++) to[from + n] = bytes[n] as number;
  return from + bytes.length;
}

/** Bytes of a text in UTF-8. Short texts of ASCII are worth looking at here: a call out of JavaScript costs more. */
export function textSize(text: string): number {
  if (text.length > 48) return Buffer.byteLength(text);
  for (let n = 0; n < text.length; n++) if (text.charCodeAt(n) > 0x7f) return Buffer.byteLength(text);
  return text.length;
}

/** `size`: its `textSize`. */
export function putText(to: Buffer, at: number, field: number, text: string, size: number): number {
  const from = putVarint(to, putVarint(to, at, (field << 3) | LENGTH), size);
  if (size > 48 || size !== text.length) return from + to.write(text, from);
  for (let n = 0; n < size; n++) to[from + n] = text.charCodeAt(n);
  return from + size;
}
