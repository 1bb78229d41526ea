import { describe, expect, test } from "vitest";
import { jsonCodec, makeJsonCodec } from "../../src/codec/json.ts";
import { isBrokerError } from "../../src/errors.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const nested = (depth: number, inside = ""): string => "[".repeat(depth) + inside + "]".repeat(depth);

function refusal(run: () => unknown): Error & { code?: string; details?: { argument?: string } } {
  try {
    run();
  } catch (error) {
    return error as Error;
  }
  throw new Error("it was accepted");
}

describe("the JSON codec encodes", () => {
  test.each<[string, unknown]>([
    ["a promise", Promise.resolve({ id: 1 })],
    ["a Map", new Map([["a", 1]])],
    ["a Set", new Set([1])],
    ["an ArrayBuffer", new ArrayBuffer(2)],
    ["an Error", new Error("x")],
    ["NaN", Number.NaN],
    ["Infinity", Number.POSITIVE_INFINITY],
    ["an invalid Date", new Date("x")],
  ])("not %s, of which a receiver would get nothing", (name, value) => {
    const error = refusal(() => jsonCodec.encode(value));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument: "payload" } });
    expect(error.message).toContain(`it is ${name}`);
  });

  test.each([[{ id: 1, text: "größer 🎉" }], [[1, "a", null, true]], ["text"], [0], [false], [null], [{}]])(
    "%j and reads the same back",
    (value) => {
      expect(jsonCodec.decode(jsonCodec.encode(value))).toEqual(value);
    },
  );

  test("to UTF-8 bytes", () => {
    expect([...jsonCodec.encode("é")]).toEqual([0x22, 0xc3, 0xa9, 0x22]);
  });

  test("lone surrogates as escapes, so that nothing is lost", () => {
    expect(jsonCodec.decode(jsonCodec.encode("\ud800"))).toBe("\ud800");
  });

  const circular: Record<string, unknown> = {};
  circular["self"] = circular;
  test.each<[string, unknown]>([
    ["undefined", undefined],
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
    ["a bigint", 1n],
    ["a circle", circular],
    [
      "a throwing toJSON",
      {
        toJSON: () => {
          throw new Error("no\nsecond line");
        },
      },
    ],
    ["bytes, which are meant for the bytes codec", new Uint8Array(3)],
  ])("refuses %s as INVALID_ARGUMENT of the payload", (_name, value) => {
    const error = refusal(() => jsonCodec.encode(value));
    expect(isBrokerError(error, "INVALID_ARGUMENT")).toBe(true);
    expect(error.details?.argument).toBe("payload");
    expect(error.message).not.toContain("\n");
  });

  test("refuses what no receiver would accept: too deep, or with hostile keys", () => {
    const deep: unknown = JSON.parse(nested(101));
    expect(refusal(() => jsonCodec.encode(deep)).code).toBe("INVALID_ARGUMENT");
    expect(refusal(() => jsonCodec.encode(JSON.parse('{"a":{"__proto__":1}}'))).code).toBe("INVALID_ARGUMENT");
  });
});

describe("the JSON codec decodes", () => {
  test("a body as deep as the limit, and refuses one level more", () => {
    expect(jsonCodec.decode(bytes(nested(100)))).toEqual(JSON.parse(nested(100)));
    expect(refusal(() => jsonCodec.decode(bytes(nested(101)))).message).toContain("100 levels");
    expect(refusal(() => jsonCodec.decode(bytes(`${'{"a":'.repeat(101)}1${"}".repeat(101)}`))).message).toContain("100 levels");
  });

  test("a million opening brackets as a refusal, not as a crash", () => {
    expect(refusal(() => jsonCodec.decode(bytes("[".repeat(1_000_000)))).message).toContain("100 levels");
    expect(refusal(() => jsonCodec.decode(bytes(nested(500_000)))).message).toContain("100 levels");
  });

  test("many brackets side by side, and brackets within strings, whatever their number", () => {
    const wide = JSON.stringify(Array.from({ length: 500 }, (_, n) => ({ n, list: [n] })));
    expect(jsonCodec.decode(bytes(wide))).toEqual(JSON.parse(wide));
    const texts = JSON.stringify({ text: "[".repeat(300), tricky: '\\"[{'.repeat(200), end: "\\" });
    expect(jsonCodec.decode(bytes(texts))).toEqual(JSON.parse(texts));
  });

  test("strings that end in backslashes do not hide the brackets behind them", () => {
    const text = `["\\\\",${nested(101)},"${"x".repeat(300)}"]`;
    expect(refusal(() => jsonCodec.decode(bytes(text))).message).toContain("levels");
    expect(makeJsonCodec(102).decode(bytes(text))).toEqual(JSON.parse(text));
  });

  test.each([
    '{"__proto__":{"admin":true}}',
    '{"a":[{"__proto__":null}]}',
    '{"\\u005f_proto__":{}}',
    '{"__\\u0070roto__":{}}',
    '{"constructor":{"prototype":{"admin":true}}}',
    '{"a":{"constructor":{"\\u0070rototype":1}}}',
    '{"c\\u006fnstructor":{"prototype":1}}',
  ])("refuses the hostile key in %s", (text) => {
    expect(refusal(() => jsonCodec.decode(bytes(text))).message).toContain("prototype");
    expect(({} as { admin?: boolean }).admin).toBeUndefined();
  });

  test.each([
    '{"text":"__proto__"}',
    '["constructor","prototype"]',
    '{"prototype":1,"protocol":"x"}',
    '{"constructor":"x"}',
    '{"constructor":{"name":"x"}}',
    '{"text":"\\u0001\\u005f"}',
    '{"proto":{"__Proto__":1}}',
  ])("accepts the harmless %s", (text) => {
    expect(jsonCodec.decode(bytes(text))).toEqual(JSON.parse(text));
  });

  test.each<[string, Uint8Array]>([
    ["nothing", bytes("")],
    ["half a body", bytes('{"card":"4111 1111')],
    ["no JSON", bytes("hunter2 is my password")],
    ["two bodies", bytes('{"card":1}{"card":2}')],
    ["no UTF-8", new Uint8Array([0x22, 0xff, 0xfe, 0x22])],
    ["a cut multi-byte character", new Uint8Array([0x22, 0xc3, 0x22])],
  ])("refuses %s with an error that does not quote the body", (_name, body) => {
    const error = refusal(() => jsonCodec.decode(body));
    expect(error).toBeInstanceOf(Error);
    expect(error.message).toMatch(/^The body is no JSON/);
    expect(`${error.stack}${JSON.stringify(error)}${String(error.cause)}`).not.toMatch(/hunter2|4111|card"/);
  });

  test("a genuine replacement character", () => {
    expect(jsonCodec.decode(bytes('"\uFFFD"'))).toBe("\uFFFD");
  });

  test("a part of a larger buffer, and only that part", () => {
    const whole = bytes('xx{"a":1}yy');
    expect(jsonCodec.decode(whole.subarray(2, 9))).toEqual({ a: 1 });
  });
});
