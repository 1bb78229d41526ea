// A process beside the test: node … child.ts <json>. It says "ready", does its work until it is killed or done, and reports by IPC.
import { sqlite } from "../src/index.ts";
import { Events, never, record, systemClock, textOf } from "./stage.ts";

export type Job =
  | {
      readonly do: "publish";
      readonly path: string;
      readonly name: string;
      readonly batch: number;
      readonly count: number;
      readonly keys: number;
    }
  | { readonly do: "consume"; readonly path: string; readonly name: string; readonly handleMs: number; readonly leaseMs: number }
  | { readonly do: "open"; readonly path: string };

/** What a child tells: batches confirmed, one by one; deliveries begun and done; or the code of an error. */
export type Report =
  | { readonly ready: true }
  | { readonly confirmed: readonly string[] }
  | { readonly name: string; readonly begun: string; readonly key: string | undefined; readonly at: number }
  | { readonly name: string; readonly done: string; readonly key: string | undefined; readonly at: number }
  | { readonly error: string; readonly message: string }
  | { readonly finished: true };

const tell = (report: Report): void => void process.send?.(report);

async function main(job: Job): Promise<void> {
  const leaseMs = job.do === "consume" ? job.leaseMs : 30_000;
  const driver = sqlite({ path: job.path, leaseMs }).open({ clock: systemClock, down: () => {} });
  const keepAlive = setInterval(() => {}, 1_000);
  try {
    await driver.connect(never);
    tell({ ready: true });
    if (job.do === "publish") {
      for (let from = 0; from < job.count; from += job.batch) {
        const names = Array.from({ length: job.batch }, (_, n) => `${job.name}-${from + n}`);
        const results = await driver.publish(
          names.map((id, n) => record(id, { id, key: `k${(from + n) % job.keys}` })),
          never,
        );
        tell({ confirmed: names.filter((_, n) => results[n]?.ok) });
      }
    } else if (job.do === "consume") {
      const subscription = await driver.subscribe(
        { topic: "orders", group: "g", from: { kind: "earliest" }, credit: 100, events: new Events() },
        never,
      );
      for (;;) {
        for (const delivery of await subscription.receive(10, 1_000, never)) {
          const what = { name: job.name, key: delivery.key && textOf(delivery.key) };
          tell({ ...what, begun: textOf(delivery.body), at: Date.now() });
          if (job.handleMs > 0) await new Promise((resolve) => setTimeout(resolve, job.handleMs));
          tell({ ...what, done: textOf(delivery.body), at: Date.now() });
          await subscription.ack([delivery]);
        }
      }
    }
    tell({ finished: true });
  } catch (error) {
    tell({ error: driver.classify(error).code, message: error instanceof Error ? error.message : String(error) });
  } finally {
    await driver.close();
    clearInterval(keepAlive);
    process.disconnect?.();
  }
}

await main(JSON.parse(process.argv[2] ?? "{}") as Job);
