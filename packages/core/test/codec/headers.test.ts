import { describe, expect, test } from "vitest";
import { decodeHeaders, encodeHeaders } from "../../src/codec/headers.ts";
import type { WireHeader } from "../../src/driver/wire.ts";

const header = (name: string, value: string | number[]): WireHeader => [
  name,
  typeof value === "string" ? Buffer.from(value) : Uint8Array.from(value),
];
const refused = expect.objectContaining({ code: "INVALID_ARGUMENT", details: { argument: "headers" } });

describe("headers go out", () => {
  test("and come back, whatever their text is", () => {
    const headers = { a: "", "content-type": "x/y", traceparent: "00-1-2-03", Unicode: "größe 🎉", tab: "a\tb ", "x.y_z-1": ": ;=," };
    expect({ ...decodeHeaders(encodeHeaders(headers)) }).toEqual(headers);
  });

  test("as one shared frozen array where there are none", () => {
    expect(encodeHeaders(undefined)).toBe(encodeHeaders({}));
    expect(Object.isFrozen(encodeHeaders(undefined))).toBe(true);
  });

  test("with extra ones, of which the application's own win", () => {
    const extra = [header("content-type", "application/json"), header("brokerkit-x", "1")];
    expect(encodeHeaders(undefined, extra)).toBe(extra);
    expect(encodeHeaders({ a: "1" }, extra)).toEqual([header("a", "1"), ...extra]);
    expect(encodeHeaders({ "content-type": "text/x" }, extra)).toEqual([header("content-type", "text/x"), extra[1]]);
  });

  test.each(["", "a b", "a:b", "a\r\nb", "a\nb", "é", "a\0", ".a", "a.", "a..b", "a/b", "(a)", '"', "a,b", "x".repeat(201)])(
    "not under the name %j",
    (name) => {
      expect(() => encodeHeaders({ [name]: "v" })).toThrow(refused);
    },
  );

  test.each(["brokerkit-id", "Brokerkit-Id", "BROKERKIT-", "brokerkit-anything"])("not under the reserved name %s", (name) => {
    expect(() => encodeHeaders({ [name]: "v" })).toThrow(refused);
  });

  test.each(["brokerkit", "brokerkit_x", "my-brokerkit-x"])("under the name %s, which only looks reserved", (name) => {
    expect(encodeHeaders({ [name]: "v" })).toHaveLength(1);
  });

  test.each([["a\rb"], ["a\nb"], ["a\r\nx: y"], ["\0"], ["\ud800"], [1], [null], [undefined], [{}], [["a"]]])(
    "not with the value %j",
    (value) => {
      expect(() => encodeHeaders({ name: value as string })).toThrow(refused);
    },
  );

  test.each([[null], ["text"], [["a"]], [1]])("not from %j", (headers) => {
    expect(() => encodeHeaders(headers as never)).toThrow(refused);
  });

  test("up to the backend's number, extra ones included", () => {
    expect(encodeHeaders({ a: "1", b: "2" }, [header("c", "3")], 3)).toHaveLength(3);
    expect(() => encodeHeaders({ a: "1", b: "2" }, [header("c", "3")], 2)).toThrow(refused);
    expect(() => encodeHeaders(undefined, [header("c", "3")], 0)).toThrow(refused);
  });

  test("and their own prototype's names are names like others", () => {
    const headers = JSON.parse('{"__proto__":"x"}') as Record<string, string>;
    expect(encodeHeaders(headers)).toEqual([header("__proto__", "x")]);
  });

  test("a Map or Headers is refused, since its entries would be left out", () => {
    for (const headers of [new Map([["a", "b"]]), new Headers({ a: "b" })])
      expect(() => encodeHeaders(headers as never)).toThrow(/Object\.fromEntries/);
    expect(encodeHeaders(Object.create(null) as Record<string, string>)).toEqual([]);
  });

  test("errors quote no value", () => {
    expect(() => encodeHeaders({ token: "hunter2\n" })).toThrow(/^((?!hunter2)[\s\S])*$/);
  });
});

describe("headers come in", () => {
  test("with the last of a repeated name, without brokerkit's own", () => {
    const headers = decodeHeaders([header("a", "1"), header("brokerkit-id", "x"), header("Brokerkit-Key", "x"), header("a", "2")]);
    expect({ ...headers }).toEqual({ a: "2" });
  });

  test("with odd names and bytes of foreign producers, never reaching a prototype", () => {
    const headers = decodeHeaders([header("__proto__", "x"), header("constructor", "y"), header("", "z"), header("bin", [0xff, 0x61])]);
    expect(Object.getPrototypeOf(headers)).toBeNull();
    expect(Object.keys(headers).sort()).toEqual(["", "__proto__", "bin", "constructor"]);
    expect(headers["bin"]).toBe("\uFFFDa");
    expect(({} as { x?: string }).x).toBeUndefined();
  });

  test("as one shared frozen object where there are none", () => {
    expect(decodeHeaders([])).toBe(decodeHeaders([header("brokerkit-id", "x")]));
    expect(Object.isFrozen(decodeHeaders([]))).toBe(true);
    expect(decodeHeaders([])["toString"]).toBeUndefined();
  });
});
