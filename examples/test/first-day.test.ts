import { randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { harness } from "@brokerkit/redis/harness";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "./program.ts";

/** The one line of JSON that a program ends with. */
async function resultOf(name: string, env: Readonly<Record<string, string | undefined>> = {}): Promise<unknown> {
  const { code, out, err } = await run(`first-day/${name}.ts`, [], { STAGE: `first-day-${randomUUID()}`, ...env });
  expect(err).toBe("");
  expect(code).toBe(0);
  return JSON.parse(out.trim().split("\n").at(-1) ?? "");
}

let folder = "";
let redis: RunningBroker | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "brokerkit-first-day-"));
  if (harness.broker === undefined) throw new Error("the harness of this backend says how to start it");
  redis = await startBroker(harness.broker);
});
afterAll(async () => {
  await redis?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Without BROKER_URL each program takes what it needs: memory, or a file where two brokers share. */
const BACKENDS: readonly (readonly [name: string, env: () => Readonly<Record<string, string | undefined>>])[] = [
  ["by default", () => ({})],
  ["on sqlite", () => ({ BROKER_URL: `sqlite:${join(folder, `${randomUUID()}.db`)}` })],
  ["on redis", () => ({ BROKER_URL: redis?.url, PRESENCE_URL: redis?.url.replace("redis:", "redis+pubsub:") })],
];

describe.each(BACKENDS)("a user's first day %s", (_, env) => {
  test("an HTTP handler answers 202, 422 or 500, and keeps a client's own id", async () => {
    const result = (await resultOf("http-publish", env())) as { readonly duplicate: boolean; readonly stored: number };
    expect(result).toMatchObject({ statuses: [202, 202, 202, 422, 500], ids: ["order-2", "order-2"], issues: 1 });
    // Where the backend has a dedupe window the second act of publishing stored nothing; it says which it was.
    expect(result.stored).toBe(result.duplicate ? 2 : 3);
  });

  test("a worker finishes what it has begun on SIGTERM, and the next one does the rest", async () => {
    const result = (await resultOf("worker", env())) as { readonly first: { readonly started: number; readonly finished: number } };
    expect(result).toMatchObject({ ready: 200, readyAfter: 503, lagBefore: 200, runs: 200, handled: 200, rejected: 1 });
    expect(result.first.finished).toBe(result.first.started);
    expect(result.first.started).toBeLessThan(200);
  });

  test("a batch loader inserts every row, at most 500 at once", async () => {
    const result = (await resultOf("batch-loader", env())) as { readonly largest: number };
    expect(result).toMatchObject({ pulled: 1_200, rows: 1_500 });
    expect(result.largest).toBeLessThanOrEqual(500);
  });

  test("a contract is planned, created once, and found again", async () => {
    const result = (await resultOf("contracts", env())) as { readonly groups: readonly string[] };
    expect(result).toMatchObject({ planned: "create", done: "create", again: "none", exists: true });
    expect([...result.groups].sort()).toEqual(["billing", "loader"]);
  });

  test("dead letters are listed by reason, redriven to their group and purged", async () => {
    expect(await resultOf("dead-letters", env())).toMatchObject({
      reasons: { timeout: 4, attempts: 1 },
      failed: { attempts: 2, error: "no such account", body: { id: 3 } },
      handledBefore: 15,
      dryRun: { matched: 4, moved: 0 },
      countAfterDryRun: 5,
      redriven: { matched: 4, moved: 4 },
      handled: 19,
      left: 1,
      purged: 1,
      empty: 0,
    });
  });

  test("a projection is rebuilt and goes live without a gap", async () => {
    const result = (await resultOf("projection", env())) as {
      readonly caughtUpAt: number;
      readonly replayed: number;
      readonly joined: number;
    };
    expect(result).toMatchObject({ live: 500, gap: 0, twice: 0 });
    expect(result.replayed + result.joined).toBe(500);
    expect(result.caughtUpAt).toBeGreaterThanOrEqual(300);
  });

  test("two backends serve one application: presence is live, orders are kept", async () => {
    expect(await resultOf("two-backends", env())).toMatchObject({
      typed: ["ada", "grace", "alan"],
      refused: "groups",
      rebuilt: { live: 40, gap: 0, twice: 0 },
      features: { live: false, kept: true },
      health: true,
    });
  });
});

test.each(["memory", "sqlite", "redis"])("a unit test in memory retries and advances time as on %s", async (like) => {
  expect(await resultOf("unit-test", { LIKE: like })).toEqual({
    negative: "reject",
    good: "none",
    before: 1,
    attempts: [1, 2],
    published: 1,
    at: "1970-01-01T00:00:00.000Z",
  });
});
