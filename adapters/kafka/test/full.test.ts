import { startBroker } from "@brokerkit/conformance/brokers";
import { type Broker, connect, isBrokerError } from "brokerkit";
import { expect, onTestFinished, test } from "vitest";
import { kafka } from "../src/index.ts";
import { limitedTo } from "./stage.ts";

test("a disk without room ends the server: publishes are refused typed, nothing confirmed is lost, and the same handle goes on later", {
  timeout: 60_000,
}, async () => {
  const server = await startBroker(limitedTo(12_000_000), { destructive: true });
  onTestFinished(() => server.close());
  const broker = (await connect(kafka({ brokers: [`127.0.0.1:${server.port}`] }))) as Broker;
  onTestFinished(() => broker.close());
  const topic = broker.topic("full");

  let confirmed = 0;
  let refused: unknown;
  for (; confirmed < 100; confirmed += 1) {
    refused = await topic.publish("x".repeat(500_000), { key: "k", id: `m-${confirmed}`, timeoutMs: 3_000 }).then(
      () => undefined,
      (error: unknown) => error,
    );
    if (refused !== undefined) break;
  }
  expect(confirmed).toBeGreaterThan(10);
  expect(isBrokerError(refused, "UNAVAILABLE", "TIMEOUT"), String(refused)).toBe(true);
  expect(refused).toMatchObject({ retryable: true });
  await expect.poll(() => server.log(), { timeout: 10_000 }).toContain("Shutdown broker because all log dirs");

  await server.restart();
  await topic.publish("room again", { key: "k", id: "last", timeoutMs: 20_000 });
  const ids: string[] = [];
  for await (const { id } of topic.replay({ from: "earliest" })) ids.push(id);
  // The refused one may be there: it was in doubt.
  expect(ids.filter((id) => id !== `m-${confirmed}`)).toEqual([...Array.from({ length: confirmed }, (_, n) => `m-${n}`), "last"]);
});
