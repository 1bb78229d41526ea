// A user's first day in one file: it must compile, the expected errors included, and is not meant to be run (nothing would end it).
// Each lettered part is a program beside this file that runs to its end.
import {
  type Adapter,
  type Broker,
  connect,
  createBroker,
  defineTopic,
  type Handler,
  isBrokerError,
  routed,
  type TopicDefinition,
} from "brokerkit";
import { testBroker, testMessage } from "brokerkit/testing";
import { z } from "zod";

// (e) contracts
export const Order: z.ZodObject<{ id: z.ZodNumber; customer: z.ZodString; at: z.ZodCoercedDate<unknown> }> = z.object({
  id: z.number(),
  customer: z.string(),
  at: z.coerce.date(),
});
export const orders: TopicDefinition<typeof Order> = defineTopic("orders", {
  schema: Order,
  key: (o) => o.customer,
  partitions: 12,
  retention: { ms: 7 * 86_400_000 },
  groups: ["billing", "loader"],
});
// (a)
const broker: Broker<"groups" | "atLeastOnce"> = createBroker(process.env["BROKER_URL"] ?? "memory:", {
  requires: ["groups", "atLeastOnce"],
  prefix: `${process.env["STAGE"]}.`,
  provision: "verify",
});
async function post(req: Request): Promise<Response> {
  try {
    const r = await broker
      .topic(orders)
      .publish(
        { id: 1, customer: "c", at: "2026-01-01" },
        { id: req.headers.get("idempotency-key") ?? undefined, timeoutMs: 2_000, signal: req.signal },
      );
    return Response.json(r, { status: 202 });
  } catch (e) {
    if (isBrokerError(e, "INVALID_PAYLOAD")) return Response.json(e.details.issues, { status: 422 });
    if (isBrokerError(e)) return new Response(null, { status: e.retryable ? 503 : 500 });
    throw e;
  }
}
// (b)
export const charge: Handler<typeof orders> = async (m) => {
  m.payload.at.getTime();
  if (m.payload.id < 0) return m.reject("negative id");
};
// biome-ignore lint/correctness/noUnusedVariables: this is what a process holds on to
const worker = await broker.topic(orders).subscribe({ group: "billing", concurrency: 16, timeoutMs: 30_000 }, charge);
const probe = (): Response => Response.json(broker.health(), { status: broker.health().ready ? 200 : 503 });
const lag = await broker.topic(orders).group("billing").lag();
lag.messages;
process.once("SIGTERM", () => void broker.close({ deadlineMs: 25_000 }));
// (c)
await using stream = broker.topic(orders).batches({ group: "loader", max: 500, waitMs: 250 });
for await (const batch of stream) {
  await insert(batch.payloads);
  await batch.ack();
}
await broker.topic(orders).subscribeBatches({ group: "loader", max: 500 }, async (b) => {
  await insert(b.payloads);
});
declare function insert(rows: readonly { id: number }[]): Promise<void>;
// (d)
const t = testBroker({ like: "redis" });
const m = testMessage(orders, { id: -1, customer: "c", at: 0 });
await charge(m);
m.settled === "reject";
await t.topic(orders).subscribe({ group: "billing" }, charge);
await t.topic(orders).publish({ id: 1, customer: "x", at: 0 });
await t.idle();
await t.advance(60_000);
t.published(orders).length;
// (f)
const dead = broker.topic(orders).group("billing").deadLetters;
for await (const l of dead.list({ since: new Date(), limit: 50 })) console.log(l.reason, l.json());
await dead.redrive({ reason: "timeout", dryRun: true, perSecond: 100 });
// (g)
async function rebuild(b: Broker<"replay" | "groups">): Promise<void> {
  const r = b.topic(orders).replay({ from: "earliest", follow: true });
  void r.caughtUp.then(() => console.log("live"));
  for await (const x of r) {
    x.payload.id;
  }
  const bounded = b.topic(orders).replay({ from: "earliest" });
  for await (const x of bounded) x.id;
  await b.topic(orders).subscribe({ group: "projection", from: await bounded.end }, charge);
}
// (h)
const live = await connect("redis+pubsub://n:6379");
const all = routed({ "presence.*": live }, await connect("redis://a:6379"));
await rebuild(all);
// negative
declare const pubsub: Adapter<{ groups: false; replay: false; seek: false; lag: false; delay: false; keyOrder: true; atLeastOnce: false }>;
const ps = await connect(pubsub);
// @ts-expect-error pub/sub has no groups
await ps.topic(orders).subscribe({ group: "billing" }, charge);
// @ts-expect-error neither group nor broadcast
await live.topic(orders).subscribe({}, charge);
// @ts-expect-error an unset variable must not turn a queue into a broadcast
await live.topic(orders).subscribe({ group: process.env["GROUP"] }, charge);
// @ts-expect-error not required, not callable
broker.topic(orders).replay({ from: "earliest" });
// @ts-expect-error
await rebuild(broker);
// @ts-expect-error
await rebuild(ps);
if (broker.supports("replay")) await rebuild(broker);
if (ps.supports("groups", "replay")) await rebuild(ps);

export { post, probe };
