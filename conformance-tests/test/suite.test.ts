import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Adapter, Capabilities } from "brokerkit/driver";
import { memory } from "brokerkit/memory";
import { describe, expect, onTestFinished, test, vi } from "vitest";
import { AssertionFailed } from "../src/assert.ts";
import type { BrokerRecipe } from "../src/brokers/index.ts";
import type { Case } from "../src/case.ts";
import { CASES } from "../src/cases/index.ts";
import { systemClock } from "../src/clock.ts";
import { type AdapterHarness, conformance, type Harness, type TestContext } from "../src/index.ts";
import { supportTable } from "../src/matrix.ts";
import { recording } from "../src/recording.ts";
import { makeReport, writeReport } from "../src/report.ts";
import { Run } from "../src/run.ts";
import { redis } from "./brokers-recipe.ts";
import { adapter, harness } from "./memory-harness.ts";

const passing: Case = { id: "test/passing", states: "passes", run: async () => {} };
const failing: Case = {
  id: "test/failing",
  states: "fails",
  run: async () => {
    throw new AssertionFailed("on purpose");
  },
};

function runOver(one: Partial<AdapterHarness> = {}): Run {
  const run = new Run(harness, { ...adapter, ...one });
  onTestFinished(() => run.close());
  return run;
}

/** The built-in backend that obeys a narrower record. */
function narrower(change: Partial<Capabilities>): Partial<AdapterHarness> {
  const expected: Capabilities = { ...adapter.expected, ...change };
  return { expected, adapter: (site): Adapter => memory({ world: site.name, like: expected, likeName: "narrower" }) };
}

const caseOf = (id: string): Case => {
  const found = CASES.find((one) => one.id === id);
  if (found === undefined) throw new Error(`no case ${id}`);
  return found;
};

describe("which form of a case runs is decided by the record", () => {
  test("a claimed capability runs the case", async () => {
    expect((await runOver().run(caseOf("priority/higher-first"))).outcome).toBe("pass");
  });

  test("one that is not claimed runs the negative twin", async () => {
    expect((await runOver(narrower({ priority: { levels: 0 } })).run(caseOf("priority/higher-first"))).outcome).toBe("twin");
  });

  test("one that is not claimed and is no call runs nothing, and says so", async () => {
    const result = await runOver(narrower({ dedupe: { windowMs: 0 } })).run(caseOf("dedupe/window"));
    expect([result.outcome, result.reason]).toEqual(["not-claimed", "the record does not claim it"]);
  });

  test("what the harness has no means for is told apart from what is not claimed", async () => {
    const result = await runOver().run(caseOf("faults/server-killed"));
    expect(result.outcome).toBe("not-claimed");
    expect((await runOver().run(caseOf("faults/zombie"))).outcome).toBe("not-possible");
  });

  test("declaring less than the harness expects fails expected-capabilities", async () => {
    const run = runOver({ ...narrower({ delay: { maxMs: 0 } }), expected: adapter.expected });
    const result = await run.run(caseOf("expected-capabilities"));
    expect(result.outcome).toBe("fail");
    expect(String(result.error)).toContain("delay.maxMs: expected Infinity, got 0");
  });
});

test("a case that fails with a server of its own tells what that one wrote last", async () => {
  const run = new Run({ ...harness, broker: redis }, adapter);
  onTestFinished(() => run.close());
  const { outcome, error, serverLogs } = await run.run({
    ...failing,
    run: async (t) => {
      const { broker } = await t.own();
      await broker?.kill();
      throw new AssertionFailed("on purpose");
    },
  });
  expect([outcome, String(error)]).toEqual(["fail", "AssertionFailed: on purpose"]);
  expect(serverLogs).toContain("Ready to accept connections");
  expect((await runOver().run(failing)).serverLogs).toBe("");
});

describe("known gaps", () => {
  const gaps = [{ case: "test/failing", reason: "not there yet, on purpose", issue: "#1" }];

  test("a listed case that fails is a gap, with its reason", async () => {
    const result = await runOver({ gaps }).run(failing);
    expect([result.outcome, result.reason]).toEqual(["gap", "not there yet, on purpose (#1)"]);
  });

  test("a listed case that passes fails", async () => {
    const result = await runOver({ gaps: [{ ...gaps[0]!, case: "test/passing" }] }).run(passing);
    expect(result.outcome).toBe("fail");
    expect(String(result.error)).toContain("remove it from the list");
  });

  test("an unknown id, a gap in what allows none, and one without a reason fail the run", async () => {
    const check = async (gap: (typeof gaps)[number]): Promise<unknown> => {
      const whole: Harness = { name: "memory", adapters: [{ ...adapter, gaps: [gap] }] };
      const tests: ((context: TestContext) => Promise<void>)[] = [];
      conformance({ describe: (_, body) => body(), test: (_, __, body) => tests.push(body), afterAll: () => {} }, whole);
      return await tests[0]?.({ skip: () => {} }).catch((error: unknown) => error);
    };
    expect(String(await check({ case: "nack/no-such", reason: "long enough a reason", issue: "#1" }))).toContain("names no case");
    expect(String(await check({ case: "nack/delay", reason: "long enough a reason", issue: "#1" }))).toContain("no gap is allowed");
    expect(String(await check({ case: "replay/time", reason: "", issue: "#1" }))).toContain("needs a reason");
    expect(await check({ case: "replay/time", reason: "long enough a reason", issue: "#1" })).toBeUndefined();
  });
});

describe("where the server can't be had", () => {
  /** Registers the suite over a harness whose recipe names a program that does not exist, and runs one of its tests. */
  async function oneTest(ci: string): Promise<{ readonly skipped: string[]; readonly error: unknown }> {
    vi.stubEnv("CI", ci);
    vi.stubEnv("BROKERKIT_CASES", "publish/receipt");
    const broker: BrokerRecipe = {
      name: "nowhere",
      variable: "BROKERKIT_TEST_NOWHERE_URL",
      port: 1,
      url: () => "nowhere:",
      ready: async () => {},
      version: async () => "0",
      process: { binaries: ["brokerkit-test-no-such-program"], args: () => [] },
    };
    const tests: ((context: TestContext) => Promise<void>)[] = [];
    let end = async (): Promise<void> => {};
    conformance(
      {
        describe: (_, body) => body(),
        test: (_, __, body) => tests.push(body),
        afterAll: (body) => {
          end = body;
        },
      },
      { name: "nowhere", broker, adapters: [adapter] },
    );
    const skipped: string[] = [];
    const error = await tests[1]?.({ skip: (note) => skipped.push(String(note)) }).catch((thrown: unknown) => thrown);
    await end();
    return { skipped, error };
  }

  test("its cases are skipped on a desk, and say why", async () => {
    const { skipped, error } = await oneTest("");
    expect(error).toBeUndefined();
    expect(skipped.join()).toContain("brokerkit-test-no-such-program");
  });

  test("they fail with CI=true", async () => {
    const { skipped, error } = await oneTest("true");
    expect(skipped).toEqual([]);
    expect(String(error)).toContain("publish/receipt: nowhere could not be started");
  });
});

test("a case that hangs fails at its limit, by its name", async () => {
  const hanging: Case = { id: "test/hanging", states: "hangs", limitMs: 50, run: () => new Promise(() => {}) };
  const result = await runOver().run(hanging);
  expect(result.outcome).toBe("fail");
  expect(String(result.error)).toContain("Not settled within 50 ms: the case test/hanging");
});

test("a run's report holds every case, what was measured, and the record, as JSON", async () => {
  const run = runOver();
  await run.run(caseOf("nack/delay"));
  await run.run(failing);
  const folder = mkdtempSync(join(tmpdir(), "brokerkit-report-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const path = writeReport(await makeReport(run), folder);
  const report = JSON.parse(readFileSync(path, "utf8")) as Awaited<ReturnType<typeof makeReport>>;
  expect(report.adapter).toBe("memory");
  expect(report.cases).toEqual({ "nack/delay": "pass", "test/failing": "fail: on purpose" });
  expect(report.counts).toMatchObject({ pass: 1, fail: 1 });
  expect(report.measured["nackDelay700Ms"]).toBeGreaterThanOrEqual(690);
  expect(report.capabilities.delay.maxMs).toBe("Infinity");
  expect(supportTable([report])).toContain("| `memory` | at-least-once (groups), at-least-once (broadcast) |");
});

test("a recorded driver shows each call and leaves out members that the driver has not", async () => {
  const plain = memory();
  const bare: Adapter = {
    ...plain,
    open: (context) => {
      const driver = plain.open(context);
      const { subscribe } = driver;
      driver.subscribe = async (request, signal) => {
        const { created, receive, ack, flush, close, ...rest } = await subscribe.call(driver, request, signal);
        return { ...rest, created, receive, ack, flush, close, nack: undefined as never, extend: undefined as never };
      };
      return driver;
    },
  };
  const { adapter: recorded, calls, of } = recording(bare);
  const driver = recorded.open({ clock: systemClock, down: () => {} });
  onTestFinished(() => driver.close());
  const signal = AbortSignal.timeout(1_000);
  await driver.connect(signal);
  await driver.admin.createTopic({ name: "t" }, signal);
  const events = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
  const subscription = await driver.subscribe({ topic: "t", group: "g", from: { kind: "latest" }, credit: 1, events }, signal);
  expect(subscription.nack).toBeUndefined();
  expect(subscription.extend).toBeUndefined();
  expect(calls.map((call) => call.operation)).toEqual(["connect", "admin.createTopic", "subscribe"]);
  expect(of("subscribe", "other")).toEqual([]);
});
