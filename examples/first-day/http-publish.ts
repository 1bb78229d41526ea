// (a) Publishing from an HTTP handler: what the client sends decides 202 or 422, what the backend answers decides 503 or 500.
import { createServer, type IncomingMessage } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { type Broker, createBroker, type In, isBrokerError } from "brokerkit";
import { type Order, orders, prefix } from "./contracts.ts";

// Lazy: the service starts, and says by its probes whether the backend is there.
const broker: Broker<"groups" | "atLeastOnce" | "replay"> = createBroker(process.env["BROKER_URL"] ?? "memory:", {
  requires: ["groups", "atLeastOnce", "replay"],
  prefix,
  provision: "verify",
});

async function post(request: Request): Promise<Response> {
  try {
    const receipt = await broker
      .topic(orders)
      // The body is whatever the client sent: the topic's schema is what checks it.
      .publish((await request.json()) as In<typeof Order>, {
        id: request.headers.get("idempotency-key") ?? undefined,
        timeoutMs: 2_000,
        signal: request.signal,
      });
    return Response.json(receipt, { status: 202 });
  } catch (error) {
    if (isBrokerError(error, "INVALID_PAYLOAD")) return Response.json(error.details.issues, { status: 422 });
    if (isBrokerError(error, "INVALID_ARGUMENT")) return Response.json(error.message, { status: 400 });
    if (isBrokerError(error)) return new Response(null, { status: error.retryable ? 503 : 500 });
    throw error;
  }
}

async function toRequest(message: IncomingMessage): Promise<Request> {
  const headers = new Headers();
  for (const [name, value] of Object.entries(message.headers)) headers.set(name, String(value));
  return new Request(`http://localhost${message.url}`, { method: "POST", headers, body: await text(message) });
}

const server = createServer((message, reply) => {
  void toRequest(message)
    .then(post)
    .then(async (response) => reply.writeHead(response.status).end(await response.text()));
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/orders`;
const send = (body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, { method: "POST", headers, body: JSON.stringify(body) });

// A deployment step has prepared the backend; from then on the service only verifies it.
await broker.provision([orders]);
const order = { id: 1, customer: "ada", at: "2026-01-01" };
const plain = await send(order);
const first = await send({ ...order, id: 2 }, { "idempotency-key": "order-2" });
const second = await send({ ...order, id: 2 }, { "idempotency-key": "order-2" });
const wrong = await send({ id: "three", customer: "ada", at: "2026-01-01" });
const issues = (await wrong.json()) as readonly unknown[];
const receipts = [(await first.json()) as { id: string }, (await second.json()) as { id: string; duplicate: boolean }] as const;
const stored: string[] = [];
for await (const message of broker.topic(orders).replay({ from: "earliest" })) stored.push(message.id);
await broker.close();
const closed = await send(order);
server.close();
console.log(
  JSON.stringify({
    statuses: [plain.status, first.status, second.status, wrong.status, closed.status],
    ids: receipts.map(({ id }) => id),
    duplicate: receipts[1].duplicate,
    issues: issues.length,
    stored: stored.length,
  }),
);
