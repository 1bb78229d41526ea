import { expect, test } from "vitest";
import { capabilities, features } from "../src/capabilities.ts";
import * as index from "../src/index.ts";

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

test("two factories with their schemes, and adapters that carry the frozen records", () => {
  expect(Object.keys(index).sort()).toEqual(["nats", "natsCore"]);
  expect([index.nats.schemes, index.natsCore.schemes]).toEqual([
    ["nats", "nats+tls", "tls"],
    ["nats+core", "nats+core+tls"],
  ]);
  for (const adapter of [index.nats(), index.natsCore()]) {
    const name = adapter.name as keyof typeof capabilities;
    expect(adapter).toMatchObject({ spi: 1, name });
    expect(adapter.capabilities).toBe(capabilities[name]);
    expect(adapter.features).toBe(features[name]);
    expect(frozen(adapter.capabilities) && frozen(adapter.features)).toBe(true);
  }
});
