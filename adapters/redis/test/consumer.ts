// A member of a group in a process of its own: prints what it got, settles nothing, and waits to be killed.

import { systemClock as clock } from "@brokerkit/conformance";
import { redis } from "../src/index.ts";

const [port, topic, group, leaseMs] = process.argv.slice(2) as [string, string, string, string];
const driver = redis({ host: "127.0.0.1", port: Number(port), leaseMs: Number(leaseMs) }).open({ clock, down: () => {} });
await driver.connect(AbortSignal.timeout(10_000));
const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
const request = { topic, group, from: { kind: "earliest" }, credit: 100, events } as const;
const subscription = await driver.subscribe(request, AbortSignal.timeout(10_000));
console.log("ready");
for (;;) {
  for (const { id } of await subscription.receive(100, 1_000, AbortSignal.timeout(5_000))) console.log(`got ${id}`);
}
