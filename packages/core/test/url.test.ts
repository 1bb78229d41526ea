import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { isBrokerError } from "../src/errors.ts";
import { parseUrl } from "../src/url.ts";

const host = (name: string, port?: number): { host: string; port: number | undefined } => ({ host: name, port });

describe("a broker URL", () => {
  test.each([
    ["memory:", "memory", [], ""],
    ["memory:name", "memory", [], "name"],
    ["MEMORY:Name", "memory", [], "Name"],
    ["sqlite:orders.db", "sqlite", [], "orders.db"],
    ["sqlite:/abs/x.db", "sqlite", [], "/abs/x.db"],
    ["sqlite:./a/b.db", "sqlite", [], "./a/b.db"],
    ["sqlite:../a%20b%3Fc.db", "sqlite", [], "../a b?c.db"],
    ["sqlite:C:\\data\\x.db", "sqlite", [], "C:\\data\\x.db"],
    ["sqlite:/home/a@b/größe.db", "sqlite", [], "/home/a@b/größe.db"],
    ["redis://h", "redis", [host("h")], ""],
    ["redis://h/", "redis", [host("h")], ""],
    ["redis://h:1/2", "redis", [host("h", 1)], "2"],
    ["redis://h//2", "redis", [host("h")], "/2"],
    ["redis://[::1]:6380/0", "redis", [host("::1", 6380)], "0"],
    ["redis://[fe80::1%eth0]", "redis", [host("fe80::1%eth0")], ""],
    ["redis+pubsub://a.b-c_d.example.", "redis+pubsub", [host("a.b-c_d.example.")], ""],
    ["kafka://a:9092,b:9092", "kafka", [host("a", 9092), host("b", 9092)], ""],
    ["kafka://a,[::1]:2,10.0.0.1:65535/x/y", "kafka", [host("a"), host("::1", 2), host("10.0.0.1", 65_535)], "x/y"],
    ["nats+core://n:4222", "nats+core", [host("n", 4222)], ""],
    ["x-1.y:p", "x-1.y", [], "p"],
  ])("%s has its parts", (text, scheme, hosts, path) => {
    const url = parseUrl(text);
    expect({ scheme: url.scheme, hosts: url.hosts, path: url.path }).toEqual({ scheme, hosts, path });
    expect(url.credentials.username).toBeUndefined();
    expect(url.credentials.password).toBeUndefined();
    expect(url.options.size).toBe(0);
  });

  test.each([
    ["s://u:p@h", "u", "p"],
    ["s://u@h", "u", undefined],
    ["s://u:@h", "u", ""],
    ["s://:p@h", undefined, "p"],
    ["s://@h", undefined, undefined],
    ["s://u%40x:p%3A%2F%3f%40%25@h", "u@x", "p:/?@%"],
    ["s://u:a:b@h", "u", "a:b"],
    ["s://u:p@a,b:1", "u", "p"],
    ["s://%C3%BC:%E2%82%AC@h", "ü", "€"],
  ])("%s has its credentials", (text, username, password) => {
    const { credentials } = parseUrl(text);
    expect([credentials.username, credentials.password]).toEqual([username, password]);
  });

  test.each<[string, Record<string, string>]>([
    ["s:?a=1", { a: "1" }],
    ["s:name?a=1&b=two%20words&c=", { a: "1", b: "two words", c: "" }],
    ["s://h?a=b=c", { a: "b=c" }],
    ["s://h/p?like=x%2By&q=+", { like: "x+y", q: "+" }],
    ["s://h/p?", {}],
    ["s:?a=//x?y", { a: "//x?y" }],
  ])("%s has its options", (text, options) => {
    expect(Object.fromEntries(parseUrl(text).options)).toEqual(options);
  });
});

describe("a malformed URL is an INVALID_ARGUMENT", () => {
  test.each([
    "",
    "nothing",
    ":",
    "://h",
    "//h",
    "1x:y",
    "s x:y",
    "s://",
    "s:///path",
    "s://?a=1",
    "s://h:",
    "s://h:0",
    "s://h:65536",
    "s://h:1x",
    "s://h:-1",
    "s://a,,b",
    "s://a,",
    "s://a b",
    "s://h\n",
    " s://h",
    "s://::1",
    "s://[::1",
    "s://[::1]x",
    "s://[zz]",
    "s://[]",
    "s://[1.2.3.4]",
    "s://h^",
    "s://-h",
    "s://h?a",
    "s://h?=1",
    "s://h?a=1&",
    "s://h?a=1&a=2",
    "s://h?a=%zz",
    "s://h?a=%ff",
    "s://h?%20=1",
    "s://h/%",
    "s:%00",
    "s://h/#x",
    "s://%zz@h",
  ])("%j", (text) => {
    try {
      parseUrl(text);
      expect.unreachable();
    } catch (error) {
      expect(isBrokerError(error, "INVALID_ARGUMENT")).toBe(true);
      expect(error).toMatchObject({ details: { argument: "url" } });
    }
  });

  test.each([[undefined], [null], [1], [{}], [new URL("http://a")]])("and so is %j", (value) => {
    expect(() => parseUrl(value as never)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  });
});

const USER = "canaryuser";
const SECRET = "canarysecret";

function everythingAbout(error: unknown): string {
  const { message, stack, cause } = error as Error;
  return [message, stack, inspect(error, { depth: 10, showHidden: true }), JSON.stringify(error), String(error), inspect(cause)].join("\n");
}

describe("credentials are never shown", () => {
  test.each([
    `s://${USER}:${SECRET}@h:bad`,
    `s://${USER}:${SECRET}@`,
    `s://${USER}:${SECRET}@:1`,
    `s://${USER}:${SECRET}@h?a=1&a=2`,
    `s://${USER}:${SECRET}@h?a`,
    `s://${USER}:${SECRET}`,
    `s://${USER}:${SECRET}@a@b`,
    `s://${USER}:x/${SECRET}@h`,
    `s://${USER}:x?${SECRET}@h`,
    `s://${USER}:x#${SECRET}@h`,
    `s://${USER}:x ${SECRET}@h`,
    `s://${USER}:%zz${SECRET}@h`,
    `s://${USER}%zz:${SECRET}@h`,
    `s://${USER}:x/1?${SECRET}=@h`,
    `s://${USER}:@${SECRET}/@h`,
    `s:${USER}:${SECRET}@h`,
    `s:/${USER}:${SECRET}@h`,
    `s:///${USER}:${SECRET}@h`,
    `${USER}:${SECRET} @h`,
    `${USER}:${SECRET}#@h`,
    `//${USER}:${SECRET}@h`,
    `s://h/x?password=${SECRET}&password=${SECRET}`,
    `s://h?x=%zz${SECRET}`,
    `s://${SECRET}@[${USER}]`,
  ])("in the refusal of %s", (text) => {
    let refused: unknown;
    try {
      parseUrl(text);
    } catch (error) {
      refused = error;
    }
    expect(isBrokerError(refused, "INVALID_ARGUMENT")).toBe(true);
    // The test's own frames may quote the source line; only the error's own text counts.
    expect(everythingAbout(refused)).not.toMatch(/canary/);
  });

  test("nor when a parsed URL is inspected, printed, spread, cloned or written as JSON", () => {
    const url = parseUrl(`s://${USER}:${SECRET}@h:1/p?token=${SECRET}`);
    expect(url.credentials.password).toBe(SECRET);
    const shown = [
      inspect(url, { showHidden: true, depth: 10, getters: true }),
      inspect({ url }),
      inspect(url.credentials),
      String(url),
      `${url}`,
      JSON.stringify(url),
      JSON.stringify({ url, credentials: url.credentials }),
      JSON.stringify({ ...url.credentials }),
      inspect(url.credentials),
      Object.keys(url).join(),
    ];
    expect(shown.join("\n")).not.toMatch(/canary/);
    expect(inspect({ ...url })).not.toContain(USER);
    expect(String(url)).toBe("s://h:1");
  });

  test("and a parsed URL can't be changed", () => {
    const url = parseUrl("s://u:p@h");
    for (const value of [url, url.hosts, url.hosts[0], url.credentials]) expect(Object.isFrozen(value)).toBe(true);
  });
});
