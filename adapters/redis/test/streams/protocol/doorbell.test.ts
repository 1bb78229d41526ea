import { systemClock as clock } from "@brokerkit/conformance";
import { expect, test } from "vitest";
import { Link } from "../../../src/client.ts";
import { endpointOf } from "../../../src/options.ts";
import { compareIds } from "../../../src/streams/mapping.ts";
import { Doorbell } from "../../../src/streams/protocol/doorbell.ts";
import { defer, fresh, plain, soon, startServer } from "../../stage.ts";

async function ringing() {
  const { host, port } = await startServer();
  const open = async (): Promise<Link> => {
    const link = await Link.open({ endpoint: endpointOf({ host, port }), clock, patienceMs: 15_000, onDown: () => {} }, soon());
    defer(async () => link.destroy());
    return link;
  };
  const [link, control] = [await open(), await open()];
  const bell = new Doorbell(link, { clock, compareIds, longestBlockMs: 20_000, control: () => control });
  const client = await plain({ host, port });
  const add = async (stream: string): Promise<string> => String(await client.call("XADD", stream, "*", "a", "1"));
  return { bell, link, add };
}

const never = new AbortController().signal;
/** Whether it is over within a time that no wait here takes by itself. */
const rung = (wait: Promise<void>): Promise<boolean> =>
  Promise.race([wait.then(() => true), new Promise<boolean>((resolve) => setTimeout(() => resolve(false), 5_000).unref())]);

test("who waits behind an earlier entry of a stream is woken beside who waits behind a later one", async () => {
  const { bell, add } = await ringing();
  const [stream, other] = [fresh(), fresh()];
  const [first, second] = [await add(stream), await add(stream)];
  void bell.wait(new Map([[other, "0-0"]]), 60_000, [never]).catch(() => {});
  const early = bell.wait(new Map([[stream, first]]), 60_000, [never]);
  void bell.wait(new Map([[stream, second]]), 60_000, [never]).catch(() => {});
  expect(await rung(early)).toBe(true);
});

test("a wait ends by its time, by a signal also if that came before, and by what was there before it began", async () => {
  const { bell, add } = await ringing();
  const stream = fresh();
  const began = performance.now();
  await bell.wait(new Map([[stream, "0-0"]]), 50, [never]);
  expect(performance.now() - began).toBeGreaterThanOrEqual(49);
  const controller = new AbortController();
  const wait = bell.wait(new Map([[stream, "0-0"]]), 60_000, [never, controller.signal]);
  controller.abort();
  expect(await rung(wait)).toBe(true);
  expect(await rung(bell.wait(new Map([[stream, "0-0"]]), 60_000, [controller.signal]))).toBe(true);
  await add(stream);
  expect(await rung(bell.wait(new Map([[stream, "0-0"]]), 60_000, [never]))).toBe(true);
});

test("all waits reject when the connection is lost, and later ones as well", async () => {
  const { bell, link } = await ringing();
  const waits = [1, 2].map(() => bell.wait(new Map([[fresh(), "0-0"]]), 60_000, [never]));
  link.destroy(new Error("lost"));
  for (const wait of waits) await expect(wait).rejects.toThrow("lost");
  await expect(bell.wait(new Map([[fresh(), "0-0"]]), 60_000, [never])).rejects.toThrow("lost");
});
