import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { basicAuth, tlsAuth, tokenAuth } from "../../src/protocol/index.ts";
import { brokersOf, settingsOf } from "../../src/protocol/options.ts";

describe("a service URL", () => {
  test("names hosts, with ports or without", () => {
    expect(brokersOf("pulsar://a,b.example:7000/")).toEqual({
      secure: false,
      hosts: [
        { host: "a", port: 6650 },
        { host: "b.example", port: 7000 },
      ],
    });
    expect(brokersOf("pulsar+ssl://[::1]:7000")).toEqual({ secure: true, hosts: [{ host: "::1", port: 7000 }] });
    expect(brokersOf("pulsar+ssl://a").hosts).toEqual([{ host: "a", port: 6651 }]);
  });

  test("is refused when it is none, without being printed", () => {
    for (const url of [
      "",
      "http://a",
      "pulsar://",
      "pulsar://user:secret@a",
      "pulsar://a:0",
      "pulsar://a:99999",
      "pulsar://a/b",
      "pulsar://a b",
    ]) {
      expect(() => brokersOf(url)).toThrow(
        expect.objectContaining({ code: "InvalidArgument", message: expect.not.stringContaining("secret") }),
      );
    }
  });
});

test("one message an entry is what batching by none means", () => {
  expect(settingsOf({ serviceUrl: "pulsar://a", batching: { by: "none", maxMessages: 50 } }).batching.maxMessages).toBe(1);
});

test("credentials are what the broker wants to see, and not what an inspection shows", async () => {
  const [token, basic] = [tokenAuth("  abc.def.ghi\n"), basicAuth("user", "pass")];
  expect(String(await token.data())).toBe("abc.def.ghi");
  expect(String(await basic.data())).toBe("user:pass");
  expect((await tlsAuth().data()).length).toBe(0);
  expect(inspect([token, basic], { depth: 9, showHidden: true })).not.toMatch(/abc\.def|pass/);
});
