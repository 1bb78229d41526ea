import type { BrokerUrl } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import { capabilities, features } from "../src/capabilities.ts";
import { sqlite } from "../src/index.ts";
import { optionsOf, settings } from "../src/options.ts";

function url(path: string, options: Readonly<Record<string, string>> = {}, hosts: BrokerUrl["hosts"] = []): BrokerUrl {
  return {
    scheme: "sqlite",
    hosts,
    path,
    options: new Map(Object.entries(options)),
    credentials: { username: undefined, password: undefined },
  };
}

const refused = (make: () => unknown, text: RegExp): void =>
  expect(make).toThrow(expect.objectContaining({ driverCode: "INVALID_ARGUMENT", message: expect.stringMatching(text) }));

describe("options", () => {
  it("have defaults", () => {
    expect(settings({ path: "orders.db" })).toEqual({
      path: "orders.db",
      create: true,
      synchronous: "full",
      leaseMs: 30_000,
      dedupeMs: 300_000,
      busyMs: 5_000,
      maxBytes: Number.POSITIVE_INFINITY,
    });
  });

  it("come from a URL as well", () => {
    const options = { create: "false", synchronous: "normal", leaseMs: "2000", dedupeMs: "0", busyMs: "10", maxBytes: "1048576" };
    expect(settings(optionsOf(url("./a/b.db", options)))).toEqual({
      path: "./a/b.db",
      create: false,
      synchronous: "normal",
      leaseMs: 2_000,
      dedupeMs: 0,
      busyMs: 10,
      maxBytes: 1_048_576,
    });
  });

  it("are refused where they are unknown or out of range", () => {
    refused(() => sqlite.fromUrl(url("x", { nonsense: "1" }), undefined as never), /no option "nonsense".*known: path, create/);
    for (const wrong of [
      { leaseMs: "99" },
      { leaseMs: "abc" },
      { leaseMs: "" },
      { dedupeMs: "-1" },
      { busyMs: "1.5" },
      { maxBytes: "10" },
    ]) {
      refused(() => sqlite.fromUrl(url("x", wrong), undefined as never), /whole number from/);
    }
    refused(() => sqlite.fromUrl(url("x", { create: "maybe" }), undefined as never), /"create" must be/);
    refused(() => sqlite.fromUrl(url("x", { synchronous: "off" }), undefined as never), /"synchronous" must be/);
    refused(() => sqlite.fromUrl(url("x", { path: "y" }), undefined as never), /"path" stands before/);
    refused(() => sqlite({ path: "x", leaseMS: 5 } as never), /no option "leaseMS"/);
  });

  it("name a file: no host, nothing empty, and memory has an adapter of its own", () => {
    refused(() => sqlite.fromUrl(url("x.db", {}, [{ host: "localhost", port: undefined }]), undefined as never), /no host/);
    refused(() => sqlite.fromUrl(url(""), undefined as never), /must name a file/);
    refused(() => sqlite.fromUrl(url(":memory:"), undefined as never), /use the URL "memory:"/);
  });
});

describe("the adapter", () => {
  it("says what it is without opening anything", () => {
    const adapter = sqlite({ path: "nowhere/at/all.db" });
    expect([adapter.name, adapter.spi, sqlite.schemes]).toEqual(["sqlite", 1, ["sqlite"]]);
    expect(adapter.capabilities).toBe(capabilities.sqlite);
    expect(adapter.features).toBe(features);
  });

  it("has a record that is frozen throughout", () => {
    const frozen = (value: unknown): boolean =>
      typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
    expect(frozen(capabilities)).toBe(true);
  });
});
