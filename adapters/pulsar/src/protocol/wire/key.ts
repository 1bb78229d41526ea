import { isUtf8 } from "node:buffer";

/** A key as the protocol's text field holds it: UTF-8 as it is, anything else in base64, which a flag beside it says. */
export interface WireKey {
  readonly bytes: Uint8Array;
  readonly base64: boolean;
}

function isText(key: Uint8Array): boolean {
  if (key.length > 48) return isUtf8(key);
  for (let n = 0; n < key.length; n++) if ((key[n] as number) > 0x7f) return isUtf8(key);
  return true;
}

export function encodeKey(key: Uint8Array): WireKey {
  if (isText(key)) return { bytes: key, base64: false };
  return { bytes: Buffer.from(Buffer.from(key.buffer, key.byteOffset, key.length).toString("base64"), "latin1"), base64: true };
}

export function decodeKey(bytes: Buffer, base64: boolean): Buffer {
  return base64 ? Buffer.from(bytes.toString("latin1"), "base64") : bytes;
}

/** Bytes of an encoded key at the most. */
export function keyRoom(key: Uint8Array): number {
  return 4 + Math.ceil((key.length * 4) / 3);
}
