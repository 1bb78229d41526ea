import { invalidArgument } from "../errors.ts";
import type { Codec } from "../message.ts";
import { bytesCodec } from "./bytes.ts";
import { jsonCodec } from "./json.ts";

const CONTENT_TYPE = /^[\x20-\x7e]{1,200}$/;

/** The codec that a topic option names. Throws `INVALID_ARGUMENT` for what is none. */
export function resolveCodec(option: "json" | "bytes" | Codec | undefined): Codec {
  if (option === undefined || option === "json") return jsonCodec;
  if (option === "bytes") return bytesCodec;
  if (typeof option?.encode !== "function" || typeof option.decode !== "function" || !CONTENT_TYPE.test(option.contentType)) {
    throw invalidArgument("codec", 'codec must be "json", "bytes" or an object { contentType, encode, decode }.');
  }
  return Object.freeze({
    contentType: option.contentType,
    encode: (value: unknown): Uint8Array => checkBytes(option.encode(value), option.contentType),
    decode: (bytes: Uint8Array): unknown => option.decode(bytes),
  });
}

function checkBytes(bytes: unknown, contentType: string): Uint8Array {
  if (bytes instanceof Uint8Array) return bytes;
  throw invalidArgument("codec", `encode of the codec for "${contentType}" must return a Uint8Array, got ${typeof bytes}.`);
}
