import { existsSync, readdirSync } from "node:fs";
import { conformance } from "@brokerkit/conformance";
import type { Capabilities } from "brokerkit/driver";
import { afterAll, describe, test } from "vitest";
import { personality } from "../harness.ts";

// Every adapter's record, found by listing the folders: where the suite passes over memory, the record says enough.
const adapters = new URL("../../", import.meta.url);
const records = readdirSync(adapters)
  .map((name) => new URL(`${name}/src/capabilities.ts`, adapters))
  .filter((file) => !file.pathname.includes("/memory/") && existsSync(file))
  .map(async (file) => ((await import(file.href)) as { capabilities: Readonly<Record<string, Capabilities>> }).capabilities);
const personalities = (await Promise.all(records))
  .flatMap((record) => Object.entries(record))
  .map(([name, record]) => personality(name, record));

if (personalities.length > 0) conformance({ describe, test, afterAll }, { name: "memory-personalities", adapters: personalities });
else test("there are no other adapters", () => {});
