import { expect, test } from "vitest";
import { decodeKey, encodeKey, laneOf } from "../../src/codec/key.ts";
import { isBrokerError } from "../../src/errors.ts";

test.each(["a", "", "größe", "🎉", "a\0b", "\uFFFD"])("the key %j comes back as it was", (key) => {
  expect(decodeKey(encodeKey(key))).toBe(key);
});

test("bytes that are no UTF-8 have no text", () => {
  expect(decodeKey(new Uint8Array([0xff]))).toBeUndefined();
  expect(decodeKey(new Uint8Array([0x61, 0xc3]))).toBeUndefined();
});

test.each([["\ud800"], ["a\udc00b"], [1], [null], [{}]])("a key that would change on its way is refused: %j", (key) => {
  expect(() => encodeKey(key as string)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", details: { argument: "key" } }));
});

test("different bytes have different lanes, be they text or not", () => {
  const keys: Uint8Array[] = [new Uint8Array(), encodeKey("é"), new Uint8Array([0xe9]), new Uint8Array([0xff]), new Uint8Array([0xfe])];
  for (let byte = 0; byte < 256; byte++) keys.push(new Uint8Array([0x61, byte]), new Uint8Array([byte, 0x61, 0x61]));
  expect(new Set(keys.map(laneOf)).size).toBe(keys.length);
  expect(laneOf(new Uint8Array([1, 2, 3]).subarray(1, 2))).toBe(laneOf(Buffer.from([2])));
});

test("isBrokerError recognises the refusal", () => {
  try {
    encodeKey("\ud800");
    expect.unreachable();
  } catch (error) {
    expect(isBrokerError(error, "INVALID_ARGUMENT")).toBe(true);
  }
});
