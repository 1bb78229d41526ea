// (b) A worker with probes that ends on SIGTERM: what it has begun it finishes, the rest is the next worker's.
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pass } from "node:timers/promises";
import { type Broker, connect, type Handler } from "brokerkit";
import { charge, orders, prefix } from "./contracts.ts";

const ORDERS = 200;
const folder = mkdtempSync(join(tmpdir(), "brokerkit-worker-"));
// Two workers, one after the other, each with a broker of its own: a backend that they share.
const url = process.env["BROKER_URL"] ?? `sqlite:${join(folder, "orders.db")}`;
const started: number[] = [];
const finished: number[] = [];

const billing: Handler<typeof orders> = async (message) => {
  started.push(message.payload.id);
  await pass(5);
  await charge(message);
  finished.push(message.payload.id);
};

async function listen(broker: Pick<Broker, "health">): Promise<{ ready: () => Promise<number>; close: () => void }> {
  const probes = createServer((_, reply) => {
    const health = broker.health();
    reply.writeHead(health.ready ? 200 : 503).end(JSON.stringify(health));
  });
  await new Promise<void>((resolve) => probes.listen(0, "127.0.0.1", resolve));
  const { port } = probes.address() as AddressInfo;
  return { ready: async () => (await fetch(`http://127.0.0.1:${port}/ready`)).status, close: () => probes.close() };
}

// ---- the worker
const broker = await connect(url, { requires: ["groups", "lag"], prefix });
const probes = await listen(broker);
await broker.provision([orders]);
const topic = broker.topic(orders);
await topic.publishAll(
  Array.from({ length: ORDERS }, (_, n) => ({ payload: { id: n === 7 ? -7 : n, customer: `customer-${n % 50}`, at: Date.now() } })),
);
const lagBefore = await topic.group("billing").lag();
await topic.subscribe({ group: "billing", concurrency: 16, timeoutMs: 30_000 }, billing);
const closed = Promise.withResolvers<void>();
process.once("SIGTERM", () => void broker.close({ deadlineMs: 25_000 }).then(closed.resolve, closed.reject));
const ready = await probes.ready();

// ---- the platform wants it gone
while (finished.length < 20) await pass(1);
process.kill(process.pid, "SIGTERM");
await closed.promise;
const readyAfter = await probes.ready();
probes.close();
const first = { started: started.length, finished: finished.length };

// ---- the next worker
const next = await connect(url, { requires: ["groups", "lag"], prefix });
await next.topic(orders).subscribe({ group: "billing", concurrency: 16 }, billing);
while ((await next.topic(orders).group("billing").lag()).messages !== 0) await pass(5);
const rejected = await next.topic(orders).group("billing").deadLetters.count();
await next.close();
rmSync(folder, { recursive: true, force: true });
console.log(
  JSON.stringify({
    ready,
    readyAfter,
    lagBefore: lagBefore.messages,
    first,
    runs: started.length,
    handled: new Set(finished).size,
    rejected,
  }),
);
