import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { capabilities, features } from "../src/capabilities.ts";
import * as index from "../src/index.ts";

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

test("one factory, and adapters that carry the frozen records", () => {
  expect(Object.keys(index)).toEqual(["pulsar"]);
  expect(index.pulsar.schemes).toEqual(["pulsar", "pulsar+ssl"]);
  const adapter = index.pulsar();
  expect(adapter).toMatchObject({ spi: 1, name: "pulsar" });
  expect(adapter.capabilities).toBe(capabilities.pulsar);
  expect(adapter.features).toBe(features.pulsar);
  expect(frozen(adapter.capabilities) && frozen(adapter.features)).toBe(true);
});

test("importing the package, making adapters and opening drivers loads no official client and holds no process", async () => {
  const script = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const { pulsar } = await import(${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)});
    await pulsar().open({ clock: {}, down() {} }).close();
    console.log(loaded.some((url) => url.includes("pulsar/src/driver")), loaded.filter((url) => url.includes("pulsar-client")).length);`;
  const args = ["--conditions=@brokerkit/source", "--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 20_000 });
  expect(stdout.trim()).toBe("true 0");
});
