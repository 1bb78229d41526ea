import type { Shard } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { delivery } from "./fake-driver.ts";
import { log, setUp } from "./stage.ts";

const key = (name: string): { key: Buffer } => ({ key: Buffer.from(name) });

/** A subscription of a log whose handlers end when the test says so, and whether a shard's release has resolved. */
async function consume(handle: (id: string, attempt: number) => Promise<void> | void) {
  const { topic, clock, side, requests } = await setUp({ capabilities: log });
  const begun: string[] = [];
  const retry = { backoffMs: { initial: 30_000, factor: 1, max: 30_000 }, jitter: "none" } as const;
  await topic.subscribe({ group: "g", concurrency: 2, retry }, (message) => {
    begun.push(message.id);
    return handle(message.id, message.attempt);
  });
  const release = (shard: Shard): { done: boolean } => {
    const state = { done: false };
    void requests[0]?.events.releasing(shard).then(() => {
      state.done = true;
    });
    return state;
  };
  const lose = (shard: Shard): void => requests[0]?.events.lost(shard, "rebalance");
  return { clock, side, begun, release, lose };
}

describe("a shard that is handed over", () => {
  test("is let go of when what had started is handled and acknowledged; nothing more of it starts", async () => {
    const one: Shard = { id: "a" };
    const ends: (() => void)[] = [];
    const { clock, side, begun, release, lose } = await consume(() => new Promise<void>((resolve) => ends.push(resolve)));
    let answer = (): void => {};
    side().answer = (deliveries) => new Promise((resolve) => (answer = () => resolve(deliveries.map(() => "confirmed"))));
    for (let n = 0; n < 5; n++) side().deliver(delivery(n, key(`k${n}`), one));
    await clock.advance(10);
    const released = release(one);
    side().deliver(delivery(5, key("k5"), one));
    await clock.advance(10);
    expect(begun).toEqual(["a.0", "a.1"]);
    ends[0]?.();
    await clock.advance(10);
    expect([begun.length, released.done]).toEqual([2, false]);
    ends[1]?.();
    await clock.advance(10);
    // Handled, and not acknowledged yet: whoever takes it over would get it again.
    expect([begun.length, released.done]).toEqual([2, false]);
    answer();
    await clock.advance(10);
    answer();
    await clock.advance(10);
    expect(released.done).toBe(true);
    expect(side().acked.at(-1)).toBe("a.1");
    lose(one);
    await clock.advance(60_000);
    expect(begun).toEqual(["a.0", "a.1"]);
  });

  test("does not wait for what waits for its next attempt: its next owner tries that again", async () => {
    const one: Shard = { id: "a" };
    const { clock, side, begun, release } = await consume((id) => {
      if (id === "a.0") throw new Error("later");
    });
    side().deliver(delivery(0, key("k0"), one), delivery(1, key("k1"), one));
    await clock.advance(10);
    expect(begun).toEqual(["a.0", "a.1"]);
    const released = release(one);
    await clock.advance(10);
    expect(released.done).toBe(true);
    await clock.advance(60_000);
    expect(begun).toEqual(["a.0", "a.1"]);
    expect(side().acked).toEqual([]);
  });

  test("whose handler fails meanwhile is let go of as well", async () => {
    const one: Shard = { id: "a" };
    let fail = (_: Error): void => {};
    const { clock, side, begun, release } = await consume(() => new Promise<void>((_, reject) => (fail = reject)));
    side().deliver(delivery(0, key("k0"), one));
    await clock.advance(10);
    const released = release(one);
    fail(new Error("no"));
    await clock.advance(10);
    expect(released.done).toBe(true);
    await clock.advance(60_000);
    expect(begun).toEqual(["a.0"]);
  });

  test("does not hold up the others, and comes back as a new one", async () => {
    const one: Shard = { id: "a" };
    const { clock, side, begun, release, lose } = await consume(() => {});
    expect(release(one).done).toBe(false);
    side().deliver(delivery(0, key("k0"), one), delivery(0, key("k0"), { id: "b" }));
    await clock.advance(10);
    lose(one);
    side().deliver(delivery(0, key("k0"), { id: "a" }));
    await clock.advance(10);
    expect(begun).toEqual(["b.0", "a.0"]);
  });

  test("that is lost while it is handed over is not waited for any more", async () => {
    const one: Shard = { id: "a" };
    const { clock, side, release, lose } = await consume(() => new Promise(() => {}));
    side().deliver(delivery(0, key("k0"), one));
    await clock.advance(10);
    const released = release(one);
    lose(one);
    await clock.advance(10);
    expect(released.done).toBe(true);
  });
});
