import { invalidArgument } from "../errors.ts";
import type { Codec } from "../message.ts";

/** Bytes in and out, without a copy: leave a published array alone until its `publish` has settled. */
export const bytesCodec: Codec = Object.freeze({
  contentType: "application/octet-stream",
  encode(value: unknown): Uint8Array {
    if (value instanceof Uint8Array) return value;
    throw invalidArgument("payload", `The codec "bytes" takes a Uint8Array, got ${value === null ? "null" : typeof value}.`);
  },
  decode: (bytes: Uint8Array): unknown => bytes,
});
