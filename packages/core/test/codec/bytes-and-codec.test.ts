import { expect, test } from "vitest";
import { bytesCodec } from "../../src/codec/bytes.ts";
import { resolveCodec } from "../../src/codec/codec.ts";
import { jsonCodec } from "../../src/codec/json.ts";
import { isBrokerError } from "../../src/errors.ts";
import type { Codec } from "../../src/message.ts";

const codeOf = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    return isBrokerError(error, "INVALID_ARGUMENT") ? error.details.argument : error;
  }
  return undefined;
};

test("bytes go in and come out untouched", () => {
  const body = new Uint8Array([0, 255, 128]);
  expect(bytesCodec.encode(body)).toBe(body);
  expect(bytesCodec.decode(body)).toBe(body);
  expect(bytesCodec.encode(Buffer.from("x"))).toEqual(Buffer.from("x"));
});

test.each([["text"], [null], [undefined], [[1, 2]], [new ArrayBuffer(2)], [{ length: 1 }]])("bytes refuse %j", (value) => {
  expect(codeOf(() => bytesCodec.encode(value))).toBe("payload");
});

test("the codec option names one of the two, json where it is left out", () => {
  expect(resolveCodec(undefined)).toBe(jsonCodec);
  expect(resolveCodec("json")).toBe(jsonCodec);
  expect(resolveCodec("bytes")).toBe(bytesCodec);
});

test("a codec of the application keeps its this, and must make bytes", () => {
  const codec = resolveCodec({
    contentType: "text/plain",
    suffix: "!",
    encode(value: unknown) {
      return value === 1 ? ("no bytes" as unknown as Uint8Array) : Buffer.from(`${String(value)}${this.suffix}`);
    },
    decode: (bytes) => Buffer.from(bytes).toString(),
  } as Codec & { suffix: string });
  expect(codec.decode(codec.encode("hi"))).toBe("hi!");
  expect(codeOf(() => codec.encode(1))).toBe("codec");
});

test.each([
  ["xml"],
  [null],
  [{}],
  [{ contentType: "a\r\nb", encode: () => {}, decode: () => {} }],
  [{ contentType: "a", encode: () => {} }],
])("what is no codec is refused: %j", (option) => {
  expect(codeOf(() => resolveCodec(option as never))).toBe("codec");
});
