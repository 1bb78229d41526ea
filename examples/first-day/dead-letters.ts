// (f) Dead letters: what a group gave up on, looked at, counted before anything moves, redriven to that group, the rest thrown away.
import { connect } from "brokerkit";
import { orders, prefix } from "./contracts.ts";

const ORDERS = 20;
const began = new Date();
let cardReader: "down" | "up" = "down";
const handled = new Set<number>();

const broker = await connect(process.env["BROKER_URL"] ?? "memory:", { requires: ["groups", "replay", "lag"], prefix });
await broker.provision([orders]);
const topic = broker.topic(orders);
const group = topic.group("billing");
const drained = async (): Promise<void> => {
  while ((await group.lag()).messages !== 0) await new Promise((resolve) => setTimeout(resolve, 5));
};

await topic.subscribe(
  { group: "billing", concurrency: 4, retry: { attempts: 2, backoffMs: { initial: 5, factor: 1, max: 5 } } },
  async (message) => {
    const { id } = message.payload;
    if (id % 5 === 1 && cardReader === "down") return message.reject("timeout");
    if (id === 3) throw new Error("no such account");
    handled.add(id);
  },
);
for (let id = 0; id < ORDERS; id++) await topic.publish({ id, customer: `customer-${id % 3}`, at: began });
await drained();

const dead = group.deadLetters;
const reasons: Record<string, number> = {};
for await (const letter of dead.list({ since: began, limit: 50 })) reasons[letter.reason] = (reasons[letter.reason] ?? 0) + 1;
const [failed] = await collect(dead.list({ where: (letter) => letter.error !== undefined }));
const handledBefore = handled.size;

const dryRun = await dead.redrive({ reason: "timeout", dryRun: true, perSecond: 100 });
const countAfterDryRun = await dead.count();
cardReader = "up";
const redriven = await dead.redrive({ reason: "timeout", perSecond: 100 });
await drained();
const left = await dead.count();
const purged = await dead.purge({ ids: failed === undefined ? [] : [failed.id] });
const empty = await dead.count();
await broker.close();

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const one of stream) all.push(one);
  return all;
}

console.log(
  JSON.stringify({
    reasons,
    failed: { attempts: failed?.attempts, error: failed?.error?.message, body: failed?.json() },
    handledBefore,
    dryRun,
    countAfterDryRun,
    redriven,
    handled: handled.size,
    left,
    purged,
    empty,
  }),
);
