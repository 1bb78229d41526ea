import { expect, test } from "vitest";
import { capabilities, ceilingOf, features } from "../src/capabilities.ts";
import * as index from "../src/index.ts";
import { settingsOf } from "../src/options.ts";

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

test("one factory with its schemes, and an adapter that carries the frozen record", () => {
  expect(Object.keys(index)).toEqual(["rabbitmq"]);
  expect(index.rabbitmq.schemes).toEqual(["amqp", "rabbitmq", "amqps"]);
  const adapter = index.rabbitmq();
  expect(adapter).toMatchObject({ spi: 1, name: "rabbitmq" });
  expect(adapter.capabilities).toEqual(ceilingOf(settingsOf({})));
  expect(adapter.features).toBe(features.rabbitmq);
  expect(index.rabbitmq({ log: false }).features).toBe(features.withoutLog);
  for (const one of [adapter.capabilities, adapter.features, capabilities, features]) expect(frozen(one)).toBe(true);
});
