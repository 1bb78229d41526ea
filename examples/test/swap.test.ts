import { afterAll, describe, expect, test } from "vitest";
import { type Backend, backends } from "./backends.ts";
import { run } from "./program.ts";

const HEARD = ["hello", "tea is ready", "with milk?"];
const MISSED = ["bo?", "well then", "one cup is left", "it gets cold"];
const LAST = "good night";
const EVERYTHING = [...HEARD, ...MISSED, LAST];

/**
 * What an evening shows by what a backend keeps. With a replay, who was away reads what was said meanwhile; without, that is lost to them.
 * With groups that outlive their members, workers share what waited for them; without, so is what moderation was to look at.
 */
function evening({ delivery, durable, from }: Backend["expected"]): object {
  const groups = delivery.group !== "none";
  const replay = from.replay.length > 0;
  return {
    features: { groups, replay },
    members: { ada: EVERYTHING, bo: replay ? EVERYTHING : [...HEARD, LAST], cy: replay ? EVERYTHING : [LAST] },
    history: replay ? { back: MISSED.length, first: HEARD.length + MISSED.length } : { back: null, first: null },
    moderation: { workers: groups ? 2 : 1, lines: 9, looked: groups && durable ? 9 : 5 },
  };
}

const { all, close } = await backends();
afterAll(close);

/** Starting a server may mean to fetch it first. */
const SWAP_MS = 300_000;

describe.each(all)("one chat on $name", ({ url, expected }) => {
  test("says who saw what, after a member and the moderation were away", { timeout: SWAP_MS }, async () => {
    const { code, out, err } = await run("swap/main.ts", ["--json"], { BROKER_URL: await url() });
    expect(code, err).toBe(0);
    expect(JSON.parse(out)).toEqual(evening(expected));
  });
});

test("nothing is lost in memory either, while the process lives", async () => {
  const { out } = await run("swap/main.ts", ["--json"], { BROKER_URL: "memory:" });
  expect(JSON.parse(out)).toMatchObject({ features: { groups: true, replay: true }, moderation: { looked: 9 } });
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
