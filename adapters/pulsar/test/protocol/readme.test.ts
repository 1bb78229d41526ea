import { expect, test, vi } from "vitest";
import { alone } from "./alone.ts";
import { client, consume, fresh, soon, startServer } from "./stage.ts";

test("the program of the README, by the name that users import, publishes, receives and acknowledges", async () => {
  const broker = await startServer();
  const topic = fresh();
  const print = vi.spyOn(console, "log").mockReturnValue(undefined);
  await alone(`pulsar://${broker.host}:${broker.port}`, topic);
  expect(print.mock.calls).toEqual([["hello", ["confirmed"]]]);
  const { consumer } = await consume(client(broker), topic, { subscription: "billing" });
  expect(await consumer.receive(1, 300, soon())).toEqual([]);
});
