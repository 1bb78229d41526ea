import { inspect } from "node:util";
import type { BrokerUrl } from "brokerkit/driver";
import { expect, test } from "vitest";
import { optionsOf, settingsOf } from "../src/options.ts";

function url(
  scheme: string,
  more: Partial<{ host: string; port: number; path: string; options: Record<string, string>; username: string; password: string }> = {},
): BrokerUrl {
  const { host, port, path = "", options = {}, username, password } = more;
  return {
    scheme,
    hosts: host === undefined ? [] : [{ host, port }],
    path,
    options: new Map(Object.entries(options)),
    credentials: { username, password },
  };
}

test("a URL without a host is AWS, with one an endpoint: https, or http where the scheme says so", () => {
  expect(optionsOf(url("sqs", { options: { region: "eu-west-1" } }))).toEqual({ region: "eu-west-1" });
  expect(optionsOf(url("sqs", { host: "sqs.test", port: 9324 }))).toEqual({ endpoint: "https://sqs.test:9324" });
  expect(optionsOf(url("sqs+fifo+http", { host: "::1", port: 1, username: "id", password: "secret" }))).toEqual({
    endpoint: "http://[::1]:1",
    accessKeyId: "id",
    secretAccessKey: "secret",
  });
});

test.each([
  ["an unknown option", url("sqs", { options: { nope: "1" } }), /no URL option "nope" for sqs:. Known: region/],
  ["a certificate for plain HTTP", url("sqs+http", { host: "h", options: { ca: "x" } }), /no URL option "ca"/],
  ["plain HTTP to AWS", url("sqs+http"), /needs a host/],
  ["a path", url("sqs", { host: "h", path: "q" }), /takes no path/],
  ["a file that is not there", url("sqs", { host: "h", options: { ca: "/nowhere.pem" } }), /ca".*ENOENT/],
  [
    "two hosts",
    {
      ...url("sqs"),
      hosts: [
        { host: "a", port: 1 },
        { host: "b", port: 1 },
      ],
    },
    /Several hosts/,
  ],
] as const)("a URL with %s is refused", (_, given, text) => {
  expect(() => optionsOf(given)).toThrow(text);
});

test.each([
  [{ nope: 1 }, /no option "nope". Known: region, endpoint/],
  [{ tls: { rejectUnauthorized: false } }, /no option "tls.rejectUnauthorized"/],
  [{ leaseMs: 1_000 }, /"leaseMs" must be a whole number from 2000 to 43200000, a multiple of 1000/],
  [{ leaseMs: 2_500 }, /a multiple of 1000/],
  [{ polls: 0 }, /"polls" must be a whole number from 1 to 50/],
  [{ fanout: "no" }, /"fanout" must be true or false/],
  [{ namePrefix: "a.b" }, /"namePrefix"/],
  [{ endpoint: "ftp://x" }, /"endpoint"/],
  [{ accessKeyId: "id" }, /go together/],
  [{ durability: "fsync" }, /none of AWS/],
  [{ endpoint: "https://sqs.eu-west-1.amazonaws.com", durability: "fsync" }, /none of AWS/],
])("%j is refused", (options, text) => {
  expect(() => settingsOf(options as never, false)).toThrow(text);
});

test("what an endpoint of one's own keeps is not known until somebody says so; AWS keeps copies", () => {
  expect(settingsOf({}, false).durability).toBe("replicated");
  expect(settingsOf({ endpoint: "http://127.0.0.1:4566" }, false).durability).toBe("none");
  expect(settingsOf({ endpoint: "http://127.0.0.1:4566", durability: "fsync" }, false).durability).toBe("fsync");
});

test("secrets are neither printed nor serialised", () => {
  const settings = settingsOf(
    { accessKeyId: "id-canary", secretAccessKey: "secret-canary", sessionToken: "token-canary", tls: { key: "key-canary" } },
    true,
  );
  expect(settings.credentials).toEqual({ accessKeyId: "id-canary", secretAccessKey: "secret-canary", sessionToken: "token-canary" });
  expect(`${inspect(settings, { depth: 9 })}${JSON.stringify(settings)}${JSON.stringify({ ...settings })}`).not.toContain("canary");
  expect(() => settingsOf({ accessKeyId: "id canary", secretAccessKey: "x" }, false)).toThrow(/^(?!.*canary)/);
});
