import { expect, test } from "vitest";
import { delivery, failure, stored } from "./fake-driver.ts";
import { setUp } from "./stage.ts";

const keyed = (n: number) => delivery(n, { key: Buffer.from("k") });

test("a batch that fails is split: its run is an attempt of each, and what fails alone is judged by its own error", async () => {
  const { topic, clock, side } = await setUp();
  const runs: string[] = [];
  const hopeless = new Error("hopeless");
  await topic.subscribeBatches({ group: "g", max: 3, retry: { attempts: 3, retryIf: (error) => error !== hopeless } }, (batch) => {
    const ids = [...batch].map(({ id, attempt }) => `${id}#${attempt}`);
    runs.push(ids.join(" "));
    if (ids.some((id) => id.startsWith("a.2"))) throw hopeless;
  });
  side().deliver(keyed(1), keyed(2), keyed(3));
  await clock.advance(5_000);
  expect(runs).toEqual(["a.1#1 a.2#1 a.3#1", "a.1#2", "a.2#2", "a.3#2"]);
  const letters = [];
  for await (const letter of topic.group("g").deadLetters.list()) letters.push([letter.id, letter.reason, letter.attempts]);
  expect(letters).toEqual([["a.2", "not-retryable", 2]]);
});

test("no message is handed out more often than its attempts allow, also not by splitting its batch", async () => {
  const { topic, clock, side } = await setUp();
  let runs = 0;
  await topic.subscribeBatches({ group: "g", max: 2, retry: { attempts: 1 } }, () => {
    runs++;
    throw new Error("no");
  });
  side().deliver(keyed(1), keyed(2));
  await clock.advance(5_000);
  expect(runs).toBe(1);
  expect(side().acked).toEqual(["a.1", "a.2"]);
});

test("a dead letter that does not fit beside its message's headers says less, and is stored", async () => {
  const { topic, clock, side } = await setUp({
    capabilities: (record) => ({ ...record, message: { ...record.message, maxHeaders: 6 } }),
  });
  await topic.subscribe({ group: "g", retry: { attempts: 1 } }, () => {
    throw new Error("no");
  });
  side().deliver(delivery(1, { headers: [1, 2, 3].map((n) => [`own-${n}`, Buffer.from("x")] as const) }));
  await clock.advance(1_000);
  const letters = [];
  for await (const letter of topic.group("g").deadLetters.list()) letters.push([letter.id, letter.reason, Object.keys(letter.headers)]);
  expect(letters).toEqual([["a.1", "attempts", ["own-1", "own-2", "own-3"]]]);
  expect(side().acked).toEqual(["a.1"]);
});

test("a dead letter that no backend can hold is tried again, loudly, and its original stays unsettled", async () => {
  let full = true;
  const said: string[] = [];
  const { topic, clock, side } = await setUp({
    capabilities: (record) => ({ ...record, message: { ...record.message, maxHeaders: 4 } }),
    options: { logger: { info: () => {}, warn: () => {}, error: (text: string) => void said.push(text) } },
    publish: (batch) => (full ? batch.map(() => failure("FORBIDDEN", "no")) : stored(batch)),
  });
  await topic.subscribe({ group: "g", retry: { attempts: 1 } }, () => {
    throw new Error("no");
  });
  side().deliver(delivery(1, { headers: [1, 2, 3, 4].map((n) => [`own-${n}`, Buffer.from("x")] as const) }), delivery(2));
  await clock.advance(60_000);
  expect(said.some((text) => text.includes("7 headers are more than the 4 that fit"))).toBe(true);
  expect(side().acked).toEqual([]);
  full = false;
  await clock.advance(60_000);
  expect(side().acked).toEqual(["a.2"]);
});
