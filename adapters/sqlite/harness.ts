import { execFileSync } from "node:child_process";
import { chmodSync, closeSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { type AdapterHarness, defineHarness, type Harness, type Provocation, type Site } from "@brokerkit/conformance";
import type { Adapter, Capabilities, DriverContext } from "brokerkit/driver";
import { Client } from "./src/client.ts";
import { type SqliteOptions, sqlite } from "./src/index.ts";
import { settings } from "./src/options.ts";
import { findLog, saveLog } from "./src/scripts/append.ts";
import { forget } from "./src/scripts/retention.ts";

const ANYWHERE = ["latest", "earliest", "time", "position"] as const;
const LEASE_MS = 4_000;
const DEDUPE_MS = 60_000;

const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  durabilityOnAck: "fsync",
  publish: { maxRecords: 1_000, maxBytes: 33_554_432, inFlight: 2, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 60_000 },
  redelivery: { native: true, maxDelayMs: Number.POSITIVE_INFINITY, counted: "failures" },
  lease: { ms: LEASE_MS, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: 10_000, scope: "subscription" },
  keyOrder: "members",
  coordination: false,
  from: { group: ANYWHERE, broadcast: ANYWHERE, replay: ["earliest", "time", "position"] },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: Number.POSITIVE_INFINITY },
  ttl: { maxMs: Number.POSITIVE_INFINITY },
  priority: { levels: 10 },
  dedupe: { windowMs: DEDUPE_MS },
  groupInbox: "native",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 16_777_216, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

const OPTIONS = { leaseMs: LEASE_MS, dedupeMs: DEDUPE_MS } as const;
const context: DriverContext = {
  clock: {
    now: () => Date.now(),
    monotonic: () => performance.now(),
    timer: (ms, run) => {
      const timer = setTimeout(run, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  },
  down: () => {},
};

function pathOf(site: Site, name = "orders.db"): string {
  return join(site.folder, name);
}

function urlOf(path: string, options: Readonly<Record<string, string | number>>): string {
  const query = Object.entries(options).map(([name, value]) => `${name}=${value}`);
  return `sqlite:${path.split("/").map(encodeURIComponent).join("/")}?${query.join("&")}`;
}

/** Lets retention take all but the newest `keep`, as it would on the next publish. */
async function expire(site: Site, topic: string, keep: number): Promise<void> {
  const client = new Client(settings({ path: pathOf(site) }), context);
  await client.connect(new AbortController().signal);
  await client.transact("write", () => {
    const log = findLog(client, topic);
    if (log === undefined || log.last - keep < log.floor) return;
    log.gone = client.now();
    forget(client, log, log.last - keep, client.now());
    saveLog(client, log);
  });
  await client.close();
}

/** Makes a broker file at `path` with some pages in it. */
async function make(path: string): Promise<void> {
  const client = new Client(settings({ path }), context);
  await client.connect(new AbortController().signal);
  await client.close();
}

interface Condition {
  readonly more?: Partial<SqliteOptions>;
  readonly undo?: () => Promise<void>;
  readonly cleanUp?: () => void;
}

function provocation(what: Omit<Provocation, "setUp">, condition: (path: string) => Promise<Condition>): Provocation {
  return {
    ...what,
    async setUp(site) {
      const path = pathOf(site, `${what.id}.db`);
      await make(path);
      const { more = {}, undo, cleanUp } = await condition(path);
      const adapter: Adapter = sqlite({ path, ...OPTIONS, ...more });
      const made = {
        url: urlOf(path, { ...OPTIONS, ...(more as Record<string, number>) }),
        adapter,
        secrets: [],
        cleanUp: async () => cleanUp?.(),
      };
      return undo === undefined ? made : { ...made, undo };
    },
  };
}

const locked = provocation({ id: "locked", code: "UNAVAILABLE", at: "publish", retryable: true }, async (path) => {
  const other = new DatabaseSync(path);
  other.exec("BEGIN IMMEDIATE");
  const undo = async (): Promise<void> => {
    if (other.isTransaction) other.exec("COMMIT");
  };
  return { more: { busyMs: 300 }, undo, cleanUp: () => other.close() };
});

const full = provocation({ id: "full", code: "QUOTA_EXCEEDED", at: "publish", retryable: false }, async (path) => {
  const other = new DatabaseSync(path);
  // As large as it may get, but for less than one message of the suite.
  other.exec("CREATE TABLE ballast (data BLOB); INSERT INTO ballast VALUES (zeroblob(1040000))");
  other.close();
  return { more: { maxBytes: 2 ** 20 } };
});

const corrupt = provocation({ id: "corrupt", code: "DATA_LOSS", at: "connect", retryable: false }, async (path) => {
  const file = openSync(path, "r+");
  // Behind the header, which says that it is a database of ours: the root of its tables.
  writeSync(file, new Uint8Array(4_000).fill(0xa5), 0, 4_000, 100);
  closeSync(file);
  return {};
});

/** Makes a file read-only, or writable again. Root may write what is read-only: only the file system's own flag stops it. */
function protect(path: string, on: boolean): void {
  if (process.getuid?.() === 0) execFileSync("chattr", [on ? "+i" : "-i", path], { stdio: "ignore" });
  else chmodSync(path, on ? 0o444 : 0o644);
}

/** Not every file system has that flag; the adapter's own tests try the error as another user. */
function canProtect(): boolean {
  const folder = mkdtempSync(join(tmpdir(), "brokerkit-flag-"));
  const path = join(folder, "file");
  try {
    writeFileSync(path, "");
    protect(path, true);
    protect(path, false);
    return true;
  } catch {
    return false;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const readOnly = provocation({ id: "read-only", code: "FORBIDDEN", at: "connect", retryable: false }, async (path) => {
  protect(path, true);
  return { undo: async () => protect(path, false), cleanUp: () => protect(path, false) };
});

const adapter: AdapterHarness = {
  name: "sqlite",
  url: (site) => urlOf(pathOf(site), OPTIONS),
  adapter: (site) => sqlite({ path: pathOf(site), ...OPTIONS }),
  expected,
  versions: async () => ({ client: process.version, server: process.versions["sqlite"] ?? "unknown" }),
  provoke: { expire, errors: [locked, full, corrupt, ...(canProtect() ? [readOnly] : [])] },
};

export const harness: Harness = defineHarness({ name: "sqlite", adapters: [adapter] });
