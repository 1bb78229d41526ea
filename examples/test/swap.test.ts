import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type BrokerRecipe, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { harness as kafka } from "@brokerkit/kafka/harness";
import { harness as redis } from "@brokerkit/redis/harness";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "./program.ts";

const HEARD = ["hello", "tea is ready", "with milk?"];
const MISSED = ["bo?", "well then", "one cup is left", "it gets cold"];
const LAST = "good night";
const EVERYTHING = [...HEARD, ...MISSED, LAST];

/** Nothing is lost: who was away reads what was said meanwhile, and workers share what waited for them. */
const KEPT = {
  features: { groups: true, replay: true },
  members: { ada: EVERYTHING, bo: EVERYTHING, cy: EVERYTHING },
  history: { back: MISSED.length, first: HEARD.length + MISSED.length },
  moderation: { workers: 2, lines: 9, looked: 9 },
};

/** Who was away has lost what was said, and so has moderation. */
const LIVE = {
  features: { groups: false, replay: false },
  members: { ada: EVERYTHING, bo: [...HEARD, LAST], cy: [LAST] },
  history: { back: null, first: null },
  moderation: { workers: 1, lines: 9, looked: 5 },
};

let folder = "";
const running: RunningBroker[] = [];
const urls = new Map<BrokerRecipe, string>();
async function urlOf(recipe: BrokerRecipe | undefined): Promise<string> {
  if (recipe === undefined) throw new Error("the harness of this backend says how to start it");
  const known = urls.get(recipe);
  if (known !== undefined) return known;
  const broker = await startBroker(recipe);
  running.push(broker);
  urls.set(recipe, broker.url);
  return broker.url;
}
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "brokerkit-swap-"));
});
afterAll(async () => {
  for (const broker of running) await broker.close();
  await rm(folder, { recursive: true, force: true });
});

const BACKENDS: readonly (readonly [name: string, address: () => Promise<string> | string, evening: object])[] = [
  ["memory", () => "memory:", KEPT],
  ["memory like pub/sub", () => "memory:?like=redis%2Bpubsub", LIVE],
  ["sqlite", () => `sqlite:${join(folder, "swap.db")}`, KEPT],
  ["redis pub/sub", async () => (await urlOf(redis.broker)).replace("redis:", "redis+pubsub:"), LIVE],
  ["redis streams", () => urlOf(redis.broker), KEPT],
  ["kafka", () => urlOf(kafka.broker), KEPT],
];

describe.each(BACKENDS)("one chat on %s", (_, address, evening) => {
  let url = "";
  beforeAll(async () => {
    url = await address();
  });

  test("says who saw what, after a member and the moderation were away", { timeout: 90_000 }, async () => {
    const { code, out, err } = await run("swap/main.ts", ["--json"], { BROKER_URL: url });
    expect(code, err).toBe(0);
    expect(JSON.parse(out)).toEqual(evening);
  });
});

test("people are told what a backend does not keep, and why", async () => {
  const { out } = await run("swap/main.ts", [], { BROKER_URL: "memory:?like=redis%2Bpubsub" });
  expect(out).toMatch(/^back +bo: history is not kept by this backend$/m);
  expect(out).toMatch(/^moderation +one worker looks at every line: this backend has no groups/m);
  expect(out).toMatch(/^seen +.*ada has all 8, bo 4 \(4 lost\), cy 1 \(7 lost\)$/m);
});

test("a backend that is not there ends it with a sentence and no stack", async () => {
  const { code, out, err } = await run("swap/main.ts", [], { BROKER_URL: "nowhere://ada:s3cret@host" });
  expect({ code, out }).toEqual({ code: 1, out: "" });
  expect(err).toMatch(/^swap: "nowhere:" names no backend\..*\n$/);
});
