import { expect, test } from "vitest";
import { bodies, Rig } from "./rig.ts";
test("works at all", async () => {
  const rig = await Rig.open();
  const a = await rig.join();
  await rig.publish("a:1", "a:2", "-3");
  const got = await a.take();
  expect(bodies(got)).toEqual(["a:1", "a:2", "-3"]);
  expect(got.map((d) => d.place)).toEqual(["0:0", "0:1", "0:2"]);
  expect(await a.subscription.ack(got)).toEqual(["confirmed", "confirmed", "confirmed"]);
  expect(await a.subscription.ack(got)).toEqual(["lost", "lost", "lost"]);
  expect(bodies((await rig.replay()).deliveries)).toEqual(["a:1", "a:2", "-3"]);
  expect(await rig.driver.admin.lag("orders", "billing", new AbortController().signal)).toEqual({ count: 0, inFlight: 0, oldestMs: 0 });
});
