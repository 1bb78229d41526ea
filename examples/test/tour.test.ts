import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { HistoryEvent, Verdict } from "@brokerkit/conformance/checker";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { addressOf } from "../tour/address.ts";
import { readOptions } from "../tour/options.ts";
import { backends } from "./backends.ts";
import { run } from "./program.ts";

interface Said {
  readonly exitCode: number;
  readonly verdict: Verdict;
  readonly shown: readonly { readonly step: string; readonly shown: boolean; readonly text: string }[];
}

/** A tour takes seconds; on a machine that does much else, several times as long. */
const TOUR_MS = 300_000;

const { all, close } = await backends();
afterAll(close);

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "brokerkit-tour-test-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function tour(args: readonly string[], url?: string): Promise<Said> {
  const { code, out, err } = await run("tour/main.ts", ["--orders", "600", "--json", ...args], { BROKER_URL: url });
  expect(code, err).toBe(0);
  return JSON.parse(out) as Said;
}

/** The words of a step that was not shown, by step. */
function missing({ shown }: Said): Readonly<Record<string, string>> {
  return Object.fromEntries(shown.filter((one) => !one.shown).map(({ step, text }) => [step, text]));
}

describe("on the embedded default", { timeout: TOUR_MS }, () => {
  test("with a worker killed, everything published is handled in order, and a history that lost one order is not valid", async () => {
    const said = await tour(["--history", folder]);
    const { verdict } = said;
    expect(missing(said)).toEqual({});
    expect(verdict.valid).toBe(true);
    expect(verdict.published).toMatchObject({ messages: 600, acknowledged: 600 });
    const [billing, replay] = verdict.groups;
    expect(billing).toMatchObject({
      group: "billing",
      handled: 600,
      lost: { count: 0 },
      phantom: { count: 0 },
      order: { count: 0, judged: 600 },
    });
    expect(billing?.duplicates.count).toBeLessThanOrEqual(billing?.duplicates.bound ?? 0);
    // The kill fell into work: what was in its hands came again; and the order that nobody could bill was tried three times in vain.
    expect(billing?.duplicates.outstanding).toBeGreaterThan(0);
    expect(billing?.duplicates.retries).toBeGreaterThanOrEqual(3);
    expect(verdict.interruptions).toBeGreaterThanOrEqual(1);
    expect(replay).toMatchObject({ group: "replay", lost: { count: 0 }, phantom: { count: 0 }, duplicates: { count: 0 } });
    expect(replay?.received).toBeGreaterThan(0);

    const again = await run("tour/main.ts", ["--judge", folder]);
    expect(again.code, again.err).toBe(0);
    expect(again.out).toContain("VALID");

    const lost = await forget(folder);
    const broken = await run("tour/main.ts", ["--judge", folder]);
    expect(broken.code).toBe(1);
    expect(broken.out).toContain("NOT VALID");
    expect(broken.out).toContain(`1 lost (${lost}`);
    expect(broken.out).toContain(`grep '"${lost}"'`);
  });

  test("without a fault nothing comes twice", async () => {
    const said = await tour(["--no-fault"]);
    expect(missing(said)).toEqual({ fault: "left out (--no-fault)" });
    expect(said.verdict).toMatchObject({ valid: true, handled: 600, interruptions: 0, duplicates: { count: 0, bound: 0 } });
  });

  test("people see plain lines, a table and the verdict last", async () => {
    const { code, out, err } = await run("tour/main.ts", ["--orders", "200"]);
    expect(err).toBe("");
    expect(code).toBe(0);
    expect(out).not.toContain("\x1b");
    expect(out).not.toContain("\r");
    for (const label of ["backend", "publish", "work", "dead letter", "kill -9", "replay", "drained", "redrive"])
      expect(out).toMatch(new RegExp(`^${label} `, "m"));
    for (const row of ["published", "handled", "lost", "phantom", "duplicates (bound)", "order per key"])
      expect(out).toContain(`\n  ${row} `);
    expect(out.indexOf("VALID")).toBeGreaterThan(out.indexOf("order per key"));
  });
});

describe("when it can't run", () => {
  test("a backend that each process has for itself is refused in words", async () => {
    const { code, err } = await run("tour/main.ts", ["--orders", "100"], { BROKER_URL: "memory:" });
    expect(code).toBe(2);
    expect(err).toMatch(/memory: .*each process has a backend of its own/);
  });

  test("an unknown scheme ends it with 2, and so does a history that isn't there", async () => {
    const unknown = await run("tour/main.ts", [], { BROKER_URL: "nowhere://x" });
    expect(unknown).toMatchObject({ code: 2, out: "" });
    expect(unknown.err).toContain('"nowhere:" names no backend');
    const absent = await run("tour/main.ts", ["--judge", join(folder, "absent")]);
    expect(absent).toMatchObject({ code: 2, out: "" });
    expect(absent.err).toContain("absent");
  });

  test("a command line that makes no sense is refused, the word named", () => {
    expect(() => readOptions(["--order", "5"])).toThrow(/--order/);
    expect(() => readOptions(["--orders", "3"])).toThrow(/from 100 .* not "3"/);
    expect(() => readOptions(["--history", ""])).toThrow(/path of a folder/);
    expect(() => readOptions(["here"])).toThrow(/here/);
    expect(readOptions([])).toMatchObject({ orders: 10_000, fault: true, json: false, history: undefined });
  });

  test("a folder that holds something is no place for a history", async () => {
    await writeFile(join(folder, "other.txt"), "");
    const { code, err } = await run("tour/main.ts", ["--history", folder]);
    expect(code).toBe(2);
    expect(err).toContain("not empty");
    expect(await readdir(folder)).toEqual(["other.txt"]);
  });
});

describe.each(all.filter(({ expected }) => expected.delivery.group === "at-least-once"))("on $name", ({ url, expected }) => {
  test("a killed worker's orders come again, in the order that is promised, and none is lost", { timeout: TOUR_MS }, async () => {
    const said = await tour([], await url());
    const absent = [...(expected.from.replay.length === 0 ? ["replay"] : []), ...(expected.lag.count === "none" ? ["lag"] : [])];
    expect(Object.keys(missing(said))).toEqual(absent);
    expect(said.verdict).toMatchObject({ valid: true, lost: { count: 0 }, phantom: { count: 0 } });
    expect(said.verdict.groups[0]).toMatchObject({ group: "billing", handled: 600 });
  });
});

describe("on redis pub/sub", { timeout: TOUR_MS }, () => {
  let pubsub = "";
  beforeAll(async () => {
    pubsub = (await all.find(({ name }) => name === "redis+pubsub")?.url()) ?? "";
  });

  test("with pub/sub each worker handles everything, and the table says what can't be shown", async () => {
    const said = await tour(["--no-fault"], pubsub);
    expect(said.verdict.groups.map(({ handled }) => handled)).toEqual([600, 600, 600]);
    expect(missing(said)).toEqual({
      fault: "left out (--no-fault)",
      workers: "redis+pubsub has no groups (delivery.group: none): each worker gets every order",
      replay: "redis+pubsub keeps nothing (replay: none)",
      lag: "redis+pubsub can't say what is outstanding (lag: none)",
      "dead letter": "redis+pubsub can keep no message that failed (dead letter: none)",
    });
  });

  test("with pub/sub and a cut link the losses that the SDK counts are the losses", async () => {
    const { verdict } = await tour([], pubsub);
    expect(verdict.valid).toBe(true);
    const [first, cut, third] = verdict.groups;
    expect([first?.handled, third?.handled]).toEqual([600, 600]);
    expect(cut?.lost.count).toBeGreaterThan(0);
    expect(cut?.lost).toMatchObject({ reported: cut?.lost.count, unknown: false });
    expect((cut?.handled ?? 0) + (cut?.lost.count ?? 0)).toBe(600);
  });
});

test("a proxy takes the place of all hosts of a URL, and credentials and options stay", () => {
  expect(addressOf("redis+pubsub://me:secret@a:7001,b:7002/0?db=1")).toEqual({
    host: "a",
    port: 7001,
    before: "redis+pubsub://me:secret@",
    after: "/0?db=1",
  });
  expect(addressOf("redis://[::1]:7001")).toEqual({ host: "::1", port: 7001, before: "redis://", after: "" });
  expect(addressOf("redis://localhost")).toBeUndefined();
  expect(addressOf("sqlite:tour.db")).toBeUndefined();
});

/** Drops everything that the workers wrote about one order that only one of them handled; its id. */
async function forget(dir: string): Promise<string> {
  const workers = (await readdir(dir)).filter((name) => /^worker-.*\.jsonl$/.test(name)).sort();
  const histories = new Map<string, HistoryEvent[]>();
  for (const name of workers) {
    const lines = (await readFile(join(dir, name), "utf8")).split("\n").filter((line) => line.endsWith("}"));
    histories.set(
      name,
      lines.map((line) => JSON.parse(line) as HistoryEvent),
    );
  }
  const received = [...histories.values()].flat().filter((event) => event.f === "receive" && event.type === "ok");
  const id = received.find((event) => "id" in event && received.filter((other) => "id" in other && other.id === event.id).length === 1);
  if (id === undefined || !("id" in id)) throw new Error("every order was received twice");
  for (const [name, events] of histories) {
    const kept = events.filter((event) => !("id" in event) || event.id !== id.id);
    // A hole in the count would be no loss, but a history that can't be judged.
    await writeFile(join(dir, name), kept.map((event, i) => `${JSON.stringify({ ...event, i })}\n`).join(""));
  }
  return id.id;
}
