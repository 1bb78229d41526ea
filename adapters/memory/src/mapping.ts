import type { Place, ShardId, WireRecord } from "brokerkit/driver";

/** A log's numbers as places: `<shard>:<n>` where the record says dense, else `<shard>:<n>.<m>` with numbers that are never used. */
export function placeOf(shard: ShardId, n: number, dense: boolean): Place {
  return (dense ? `${shard}:${n}` : `${shard}:${Math.floor(n / 4)}.${n % 4}`) as Place;
}

/** The first number behind a place. */
export function behind(place: Place, dense: boolean): number {
  const [major = 0, minor] = place
    .slice(place.indexOf(":") + 1)
    .split(".")
    .map(Number);
  if (dense) return major + 1;
  return major * 4 + (minor === undefined ? 0 : Math.min(minor, 3) + 1);
}

/** FNV-1a: chooses the shard of a key, and finds its lane. */
export function hashBytes(bytes: Uint8Array): number {
  let hash = -2_128_831_035;
  for (let n = 0; n < bytes.length; n++) hash = Math.imul(hash ^ (bytes[n] as number), 16_777_619);
  return hash;
}

/**
 * A hash whose lowest bits follow the last character: texts that count upwards, as ids do, are neighbours in a table, so that looking
 * them up one after another stays within the processor's cache.
 */
export function hashText(text: string): number {
  const last = text.length - 1;
  let hash = -2_128_831_035;
  for (let n = 0; n < last; n++) hash = Math.imul(hash ^ text.charCodeAt(n), 16_777_619);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  hash ^= hash >>> 13;
  return (hash << 6) | ((text.charCodeAt(last) + (hash >>> 26)) & 63);
}

/** Body, key, header names and values: what `message.maxBytes`, `publish.maxBytes` and retention by bytes count. */
export function sizeOf({ key, headers, body }: WireRecord): number {
  let size = (key?.length ?? 0) + (body?.length ?? 0);
  for (let n = 0; n < headers.length; n++) {
    const header = headers[n] as readonly [string, Uint8Array];
    size += header[0].length + header[1].length;
  }
  return size;
}

/** Bytes as a text to compare by. */
export function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");
}
