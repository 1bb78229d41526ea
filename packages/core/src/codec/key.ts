import { invalidArgument } from "../errors.ts";
import { binaryText, exactText } from "./text.ts";

/** An ordering key as bytes. Throws `INVALID_ARGUMENT` for what UTF-8 cannot hold, since two such keys would become one. */
export function encodeKey(key: string): Uint8Array {
  if (typeof key !== "string") {
    throw invalidArgument("key", `A key must be a string, got ${key === null ? "null" : typeof key}. Convert it: key: String(value).`);
  }
  if (!key.isWellFormed()) {
    throw invalidArgument("key", "A key must be well-formed text: this one holds half of a surrogate pair.");
  }
  return Buffer.from(key);
}

/** A key as text; `undefined` for bytes that are no UTF-8. */
export function decodeKey(bytes: Uint8Array): string | undefined {
  return exactText(bytes);
}

/** Names a key's lane; injective for any bytes. */
export function laneOf(bytes: Uint8Array): string {
  return binaryText(bytes);
}
