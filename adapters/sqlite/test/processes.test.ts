import { type ChildProcess, fork } from "node:child_process";
import { chmodSync } from "node:fs";
import { dirname } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { describe, expect, it, onTestFinished } from "vitest";
import type { Job, Report } from "./child.ts";
import { bodies, file, gather, LATEST, member, never, open, put, record, until } from "./stage.ts";

interface Child {
  readonly process: ChildProcess;
  readonly reports: Report[];
  readonly ended: Promise<void>;
}

/** Starts a process and waits until it has opened the file, or failed to. */
async function start(job: Job, uid?: number): Promise<Child> {
  const execArgv = ["--conditions=@brokerkit/source", "--disable-warning=ExperimentalWarning"];
  const child = fork(new URL("./child.ts", import.meta.url), [JSON.stringify(job)], { execArgv, ...(uid === undefined ? {} : { uid }) });
  const reports: Report[] = [];
  child.on("message", (report) => reports.push(report as Report));
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  onTestFinished(() => {
    child.kill("SIGKILL");
    return ended;
  });
  await until(() => reports.length > 0);
  return { process: child, reports, ended };
}

const confirmed = ({ reports }: Child): string[] => reports.flatMap((report) => ("confirmed" in report ? report.confirmed : []));
const all = (total: number) => Array.from({ length: total }, (_, n) => `${n}`);

describe("several processes on one file", () => {
  it("compete for keys: each message is handled once, each key in order, and never by two at a time", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    await driver.admin.createGroup("orders", "g", LATEST, never);
    const total = 600;
    await put(driver, ...all(total).map((name, n) => record(name, { key: `k${n % 7}` })));
    const job = { do: "consume", path, handleMs: 1, leaseMs: 30_000 } as const;
    const children = await Promise.all(["a", "b", "c"].map((name) => start({ ...job, name })));
    const reports = (): Report[] => children.flatMap((child) => child.reports);
    await until(() => reports().filter((report) => "done" in report).length >= total);
    const done = reports().flatMap((report) => ("done" in report ? [report] : []));
    expect(done.map((report) => report.done).sort()).toEqual(all(total).sort());
    expect(new Set(done.map((report) => report.name)).size).toBeGreaterThan(1);
    for (let key = 0; key < 7; key++) {
      const steps = reports()
        .flatMap((report) => ("begun" in report || "done" in report ? [report] : []))
        .filter((report) => report.key === `k${key}`)
        .map((report) => ({ at: report.at, number: Number("begun" in report ? report.begun : report.done), begun: "begun" in report }))
        .sort((a, b) => a.number - b.number || Number(b.begun) - Number(a.begun));
      for (const [n, step] of steps.entries())
        if (n > 0) expect(step.at, `k${key}: ${step.number} overlaps the one before`).toBeGreaterThanOrEqual(steps[n - 1]!.at);
    }
  });

  it("lose nothing that was confirmed when a writer is killed in the middle of its publishes, and store each batch as a whole", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    await driver.admin.createGroup("orders", "g", LATEST, never);
    const stored = new Set<string>();
    const subscription = await member(driver, "g");
    for (const round of ["one", "two", "three"]) {
      const child = await start({ do: "publish", path, name: round, batch: 50, count: 1_000_000, keys: 20 });
      await until(() => confirmed(child).length >= 1_000);
      child.process.kill("SIGKILL");
      await child.ended;
      const { count } = await driver.admin.lag("orders", "g", never);
      for (const delivery of await gather(subscription, count ?? 0)) {
        stored.add(delivery.id ?? "");
        await subscription.ack([delivery]);
      }
      const names = confirmed(child);
      expect(names.filter((name) => !stored.has(name))).toEqual([]);
      const mine = [...stored].filter((name) => name.startsWith(`${round}-`));
      expect(mine.length % 50, "messages of a batch that was stored in part").toBe(0);
      expect(mine.length).toBeLessThanOrEqual(names.length + 50);
    }
    const db = new DatabaseSync(path);
    expect(db.prepare("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    db.close();
  });

  it("hand what a killed consumer had to the others once its lease is over, with the delivery counted", async () => {
    const path = file();
    const { driver } = await open({ path, leaseMs: 1_000 });
    await driver.admin.createTopic({ name: "orders" }, never);
    await driver.admin.createGroup("orders", "g", LATEST, never);
    await put(driver, ...all(30).map((name, n) => record(name, { key: `k${n % 3}` })));
    const child = await start({ do: "consume", path, name: "victim", handleMs: 60_000, leaseMs: 1_000 });
    await until(() => child.reports.some((report) => "begun" in report));
    child.process.kill("SIGKILL");
    await child.ended;
    const got = await gather(await member(driver, "g"), 30);
    expect(bodies(got).sort()).toEqual(all(30).sort());
    expect(got.filter(({ deliveries }) => deliveries === 2)).toHaveLength(10);
    for (let key = 0; key < 3; key++) {
      const numbers = bodies(
        got.filter(({ key: bytes }) => String(bytes) === `k${key}` || (bytes && Buffer.from(bytes).toString() === `k${key}`)),
      ).map(Number);
      expect(numbers).toEqual([...numbers].sort((a, b) => a - b));
    }
  });

  it("wake one another", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.admin.createTopic({ name: "orders" }, never);
    const subscription = await member(driver, "g");
    const keepAlive = setInterval(() => {}, 1_000);
    const waiting = subscription.receive(10, 60_000, never);
    await start({ do: "publish", path, name: "x", batch: 1, count: 1, keys: 1 });
    expect(bodies(await waiting)).toEqual(["x-0"]);
    clearInterval(keepAlive);
  });

  it("open one new file at the same time, and agree on it", async () => {
    const path = file();
    const children = await Promise.all(all(4).map(() => start({ do: "open", path })));
    await Promise.all(children.map((child) => child.ended));
    for (const { reports } of children) expect(reports).toEqual([{ ready: true }, { finished: true }]);
  });
});

describe("a process that may only read", () => {
  // Root may write anything, so that it takes another user to find out.
  const nobody = process.getuid?.() === 0 ? 65_534 : undefined;

  it("is told FORBIDDEN for a read-only file, and for a read-only folder", async () => {
    const path = file();
    const { driver } = await open({ path });
    await driver.close();
    chmodSync(path, 0o444);
    chmodSync(dirname(path), 0o777);
    const forFile = await start({ do: "open", path }, nobody);
    expect(forFile.reports[0]).toMatchObject({ error: "FORBIDDEN", message: expect.stringContaining("must be able to write") });
    chmodSync(dirname(path), 0o555);
    const forFolder = await start({ do: "open", path: `${path}-new` }, nobody);
    expect(forFolder.reports[0]).toMatchObject({ error: "FORBIDDEN" });
    chmodSync(dirname(path), 0o755);
  });
});
