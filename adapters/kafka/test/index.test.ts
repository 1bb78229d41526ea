import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { capabilities, features } from "../src/capabilities.ts";
import * as index from "../src/index.ts";

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

test("one factory, and adapters that carry the frozen records", () => {
  expect(Object.keys(index)).toEqual(["kafka"]);
  expect(index.kafka.schemes).toEqual(["kafka", "kafkas"]);
  const adapter = index.kafka();
  expect(adapter).toMatchObject({ spi: 1, name: "kafka" });
  expect(adapter.capabilities).toBe(capabilities.kafka);
  expect(adapter.features).toBe(features.kafka);
  expect(frozen(adapter.capabilities) && frozen(adapter.features)).toBe(true);
});

test("importing the package, making adapters and opening drivers loads no client and holds no process", async () => {
  const script = `
    import { registerHooks } from "node:module";
    const loaded = [];
    registerHooks({ load(url, context, next) { loaded.push(url); return next(url, context); } });
    const { kafka } = await import(${JSON.stringify(new URL("../src/index.ts", import.meta.url).href)});
    await kafka().open({ clock: {}, down() {} }).close();
    console.log(loaded.some((url) => url.includes("kafka/src/driver")), loaded.filter((url) => url.includes("@platformatic")).length);`;
  const args = ["--conditions=@brokerkit/source", "--input-type=module", "-e", script];
  const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 20_000 });
  expect(stdout.trim()).toBe("true 0");
});
