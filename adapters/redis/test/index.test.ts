import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { capabilities, features } from "../src/capabilities.ts";
import * as index from "../src/index.ts";

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

test("two factories, one per scheme pair, and adapters that carry the frozen records", () => {
  expect(Object.keys(index).sort()).toEqual(["redis", "redisPubSub"]);
  expect([index.redis.schemes, index.redisPubSub.schemes]).toEqual([
    ["redis", "rediss"],
    ["redis+pubsub", "rediss+pubsub"],
  ]);
  for (const adapter of [index.redis(), index.redisPubSub()]) {
    const name = adapter.name as keyof typeof capabilities;
    expect(adapter).toMatchObject({ spi: 1, name });
    expect(adapter.capabilities).toBe(capabilities[name]);
    expect(adapter.features).toBe(features[name]);
    expect(frozen(adapter.capabilities) && frozen(adapter.features)).toBe(true);
  }
});

test("importing the package and making adapters loads no client", async () => {
  const script = `
    import { createRequire } from "node:module";
    const { redis, redisPubSub } = await import(${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)});
    redis().open({ clock: {}, down() {} }); redisPubSub().open({ clock: {}, down() {} });
    console.log(Object.keys(createRequire(import.meta.url).cache).filter((path) => path.includes("redis")).length);`;
  const { stdout } = await promisify(execFile)(process.execPath, ["--conditions=@brokerkit/source", "--input-type=module", "-e", script]);
  expect(stdout.trim()).toBe("0");
});
