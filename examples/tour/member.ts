// A process of the tour: runs app.ts as a producer or as a worker, with a witness that writes the history, until the director says stop.
import { createInterface } from "node:readline";
import { setTimeout as pass } from "node:timers/promises";
import { historyTime, openHistory } from "@brokerkit/conformance/checker";
import { type Broker, connect, type In } from "brokerkit";
import { GROUP, type Order, orders, produce, work } from "./app.ts";
import { type Command, type Job, orderId, type Report } from "./line.ts";
import { Witness } from "./witness.ts";

/** How often the director is told. */
const NEWS_MS = 40;
/** Orders come in bursts as short as this. */
const TICK_MS = 10;

const job = JSON.parse(process.argv[2] ?? "{}") as Job;
const commands = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

function report(what: Report): void {
  process.stdout.write(`${JSON.stringify(what)}\n`);
}

async function command(): Promise<Command> {
  const { value, done } = await commands.next();
  return done === true ? { say: "stop" } : (JSON.parse(value) as Command);
}

/** Orders as they come in: at their pace, never past what the director has allowed. */
class Till {
  #allowed = 0;
  #wake = Promise.withResolvers<void>();

  allow(orders: number): void {
    this.#allowed = Math.max(this.#allowed, orders);
    this.#wake.resolve();
  }

  async *orders(): AsyncGenerator<In<typeof Order>, void, void> {
    const { name, poison, customers, perSecond } = job;
    let burst = 0;
    for (let n = 0; n < job.orders; n++) {
      while (n >= this.#allowed) {
        this.#wake = Promise.withResolvers();
        await this.#wake.promise;
      }
      if (++burst >= (perSecond * TICK_MS) / 1_000) {
        burst = 0;
        await pass(TICK_MS);
      }
      // Both producers serve all customers; the multiplier spreads one customer's orders over the run.
      yield {
        id: orderId(name, n),
        customer: `customer-${(n * 7) % customers}`,
        cents: 500 + ((n * 37) % 4_000),
        guests: n === poison ? 0 : 1 + (n % 6),
      };
    }
  }
}

async function producer(broker: Broker): Promise<void> {
  const till = new Till();
  produce(broker, till.orders()).catch(fail);
  for (;;) {
    const next = await command();
    if (next.say === "stop") return;
    if (next.say === "upto") till.allow(next.orders);
  }
}

async function worker(broker: Broker, witness: Witness): Promise<void> {
  if ((await command()).say === "stop") return;
  const subscription = await work(broker);
  report({ say: "begun", created: subscription.startedFrom === "created", since: historyTime() });
  subscription.closed.catch(fail);
  const flushing = setInterval(() => {
    // A link that is down says so elsewhere.
    witness.flushed(orders.name, subscription).catch(() => {});
  }, NEWS_MS);
  if (broker.capabilities.settle.ack === "confirmed") clearInterval(flushing);
  while ((await command()).say !== "stop") {}
  clearInterval(flushing);
  await subscription.close();
  witness.closed(orders.name);
}

function fail(error: unknown): void {
  report({ say: "failed", error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) });
  process.exitCode = 1;
}

async function main(): Promise<void> {
  const history = openHistory(job.history, job.name);
  const witness = new Witness(history, (payload) => orders.key?.(payload as In<typeof Order>));
  const broker = (await connect(process.env["BROKER_URL"] ?? "memory:", { prefix: job.prefix, use: [witness] })) as Broker;
  const confirmed = broker.capabilities.settle.ack === "confirmed";
  witness.joins({ group: broker.supports("groups") ? GROUP : undefined, confirmed });
  report({ say: "ready" });
  const tell = (): void =>
    report({ say: "news", healthy: broker.health().ready, counts: witness.counts, ...witness.news(), moment: witness.moment });
  const telling = setInterval(tell, NEWS_MS);
  await (job.role === "producer" ? producer(broker) : worker(broker, witness));
  await broker.close();
  clearInterval(telling);
  tell();
  history.close();
  report({ say: "ended" });
}

await main().catch(fail);
// Standard input may still be open.
process.exit();
