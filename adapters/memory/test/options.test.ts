import type { BrokerUrl, FactoryContext } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { type MemoryOptions, memory } from "../src/index.ts";
import { earliest, never, Rig, recordWith } from "./rig.ts";
import { VirtualClock } from "./virtual-clock.ts";

const url = (path: string, options: Record<string, string> = {}, more: Partial<BrokerUrl> = {}): BrokerUrl => ({
  scheme: "memory",
  hosts: [],
  path,
  options: new Map(Object.entries(options)),
  credentials: { username: undefined, password: undefined },
  ...more,
});
const context: FactoryContext = {
  capabilitiesOf: async (name) => {
    if (name !== "queue") throw new Error(`no ${name}`);
    return recordWith({ seek: "none", from: { group: ["latest"], broadcast: ["latest"], replay: [] } });
  },
};
const topicsOf = async (adapter: ReturnType<typeof memory>): Promise<string> => {
  const driver = adapter.open({ clock: new VirtualClock(), down: () => {} });
  await driver.connect(never);
  return driver.admin.createTopic({ name: "orders" }, never);
};

describe("worlds", () => {
  test("are an adapter value's own, shared by its drivers", async () => {
    const adapter = memory();
    expect([await topicsOf(adapter), await topicsOf(adapter), await topicsOf(memory())]).toEqual(["created", "existing", "created"]);
  });

  test("with a name are shared in the process, by option and by URL", async () => {
    expect(await topicsOf(memory({ world: "shared" }))).toBe("created");
    expect(await topicsOf(memory({ world: "shared" }))).toBe("existing");
    const [again, other, own] = await Promise.all([url("shared"), url("other"), url("")].map((one) => memory.fromUrl(one, context)));
    expect(again && other && own && [await topicsOf(again as never), await topicsOf(other as never), await topicsOf(own as never)]).toEqual(
      ["existing", "created", "created"],
    );
  });

  test("obey one record", () => {
    memory({ world: "one record" });
    expect(() => memory({ world: "one record", leaseMs: 1 })).toThrowError(expect.objectContaining({ driverCode: "INVALID_ARGUMENT" }));
  });
});

describe("options", () => {
  test.each<[string, object]>([
    ["an unknown name", { leaseMS: 1 }],
    ["no name for a world", { world: "" }],
    ["a lease of no time", { leaseMs: 0 }],
    ["a lease that is no number", { leaseMs: Number.NaN }],
    ["a negative window", { dedupeMs: -1 }],
    ["a record that is none", { like: "sqs" }],
    ["a name without its record", { likeName: "sqs" }],
    ["a lease where the record has none", { leaseMs: 1, like: recordWith({ lease: { ms: 0, extend: false } }) }],
    ["a window where the record has none", { dedupeMs: 1, like: recordWith({ dedupe: { windowMs: 0 } }) }],
    ["a prefix with leases", { like: recordWith({ settle: { unit: "prefix" } }) }],
    ["an inbox without groups", { like: recordWith({ delivery: { group: "none" } }) }],
  ])("refuse %s", (_, options) => {
    expect(() => memory(options as MemoryOptions)).toThrowError(expect.objectContaining({ driverCode: "INVALID_ARGUMENT" }));
  });

  test.each<[string, BrokerUrl]>([
    ["a host", url("", {}, { hosts: [{ host: "localhost", port: undefined }] })],
    ["a password", url("", {}, { credentials: { username: "me", password: "canary" } })],
    ["an unknown option", url("", { lease: "1" })],
    ["a lease that is no number", url("", { leaseMs: "soon" })],
    ["an empty lease", url("", { leaseMs: "" })],
  ])("in a URL refuse %s", async (_, one) => {
    const error = await Promise.resolve(memory.fromUrl(one, context)).catch((caught: unknown) => caught);
    expect(error).toMatchObject({ driverCode: "INVALID_ARGUMENT" });
    expect(String(error)).not.toContain("canary");
  });

  test("in a URL say whom to be like", async () => {
    const adapter = await memory.fromUrl(url("", { like: "queue", leaseMs: "1500" }), context);
    expect(adapter).toMatchObject({
      name: "memory?like=queue",
      features: { groups: true, replay: false, seek: false },
      capabilities: { seek: "none", lease: { ms: 1_500 } },
    });
    expect((await memory.fromUrl(url("", { like: "memory" }), context)).name).toBe("memory");
    await expect(memory.fromUrl(url("", { like: "unheard-of" }), context)).rejects.toThrow("no unheard-of");
  });
});

describe("the adapter", () => {
  test("is frozen through and through", () => {
    const { capabilities } = memory();
    expect(Object.isFrozen(capabilities) && Object.values(capabilities).every((value) => Object.isFrozen(value))).toBe(true);
  });

  test("has one clock a world: that of the first driver", async () => {
    const rig = await Rig.open();
    const driver = rig.adapter.open({ clock: new VirtualClock(), down: () => {} });
    await driver.connect(never);
    await rig.publish("-1");
    const member = await rig.join("billing", earliest, driver);
    expect((await member.take())[0]?.leaseUntil).toBe(30_000);
    rig.clock.advance(30_000);
    expect(await member.take()).toMatchObject([{ deliveries: 2 }]);
  });
});
