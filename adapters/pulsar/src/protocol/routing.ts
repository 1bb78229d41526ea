import { isUtf8 } from "node:buffer";

/** A key as it travels: text, or base64 for bytes that are not UTF-8. */
export function textOf(key: Uint8Array): string {
  const bytes = Buffer.from(key.buffer, key.byteOffset, key.byteLength);
  return bytes.toString(isUtf8(bytes) ? "utf8" : "base64");
}

/**
 * The partition of a key, as Java's client has it by default (`HashingScheme.JavaStringHash`: `String.hashCode` of the key as it travels), so
 * that one key of several clients is in one partition.
 */
export function partitionOf(key: Uint8Array, partitions: number): number {
  let hash = 0;
  for (let at = 0; at < key.length; at++) {
    const byte = key[at] as number;
    if (byte > 0x7f) return (hashCode(textOf(key)) & 0x7fff_ffff) % partitions;
    hash = (Math.imul(hash, 31) + byte) | 0;
  }
  return (hash & 0x7fff_ffff) % partitions;
}

function hashCode(text: string): number {
  let hash = 0;
  for (let at = 0; at < text.length; at++) hash = (Math.imul(hash, 31) + text.charCodeAt(at)) | 0;
  return hash;
}

/** The lane of a key: FNV-1a of its bytes, mixed, so that it has nothing in common with the partition. */
export function laneOf(key: Uint8Array, lanes: number): number {
  let hash = 0x811c_9dc5;
  for (let at = 0; at < key.length; at++) hash = Math.imul(hash ^ (key[at] as number), 0x0100_0193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x85eb_ca6b);
  return ((hash ^ (hash >>> 13)) >>> 0) % lanes;
}

/** How a topic's partition is called; a topic without partitions is its own only one. */
export function partitionName(topic: string, partition: number, partitions: number): string {
  return partitions === 0 ? topic : `${topic}-partition-${partition}`;
}
