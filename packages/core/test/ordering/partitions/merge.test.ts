import type { WireDelivery } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { Merge, type Strand } from "../../../src/ordering/partitions/merge.ts";
import { Fifo } from "../../../src/primitives/fifo.ts";
import { VirtualClock } from "../../../src/testing/virtual-clock.ts";
import { never } from "./rig.ts";

interface Ask {
  readonly max: number;
  readonly answer: (...bodies: string[]) => void;
  readonly fail: (error: unknown) => void;
}

/** A strand whose receives are answered by the test; an abort answers with what `assigned` holds. */
class Scripted implements Strand {
  readonly buffer = new Fifo<WireDelivery>();
  receiving = false;
  still = false;
  over = false;
  readonly asks: Ask[] = [];
  assigned: string[] = [];

  fill(max: number, _waitMs: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const answer = (...bodies: string[]): void => {
      for (const body of bodies) this.buffer.push(delivery(body));
      resolve();
    };
    signal.addEventListener("abort", () => answer(...this.assigned.splice(0)), { once: true });
    this.asks.push({ max, answer, fail: reject });
    return promise;
  }
}

function delivery(body: string, leaseUntil: number = Number.POSITIVE_INFINITY): WireDelivery {
  const shard = { id: "0" };
  const none = { place: undefined, id: body, key: undefined, headers: [], publishedAt: 0, deliveries: 1, failures: 0, inbox: false };
  return { ...none, shard, body: Buffer.from(body), leaseUntil };
}

const ids = (deliveries: readonly WireDelivery[]): (string | undefined)[] => deliveries.map(({ id }) => id);

function merged(count: number) {
  const clock = new VirtualClock();
  const merge = new Merge(clock, 30_000);
  const strands = Array.from({ length: count }, () => new Scripted());
  for (const strand of strands) merge.add(strand);
  return { clock, merge, strands };
}

describe("receiving from several", () => {
  test("asks each for its share, once at a time, and hands out what comes first", async () => {
    const { merge, strands } = merged(4);
    const [a, b] = strands as [Scripted, Scripted];
    const first = merge.receive(10, 1_000, never);
    expect(strands.map(({ asks }) => asks.map(({ max }) => max))).toEqual([[3], [3], [3], [3]]);
    b.asks[0]?.answer("b1", "b2");
    expect(ids(await first)).toEqual(["b1", "b2"]);
    const second = merge.receive(10, 1_000, never);
    expect([a.asks.length, b.asks.length]).toEqual([1, 2]);
    a.asks[0]?.answer("a1");
    expect(ids(await second)).toEqual(["a1"]);
  });

  test("keeps what comes for nobody until somebody asks, and asks for no more meanwhile", async () => {
    const { clock, merge, strands } = merged(2);
    const [a] = strands as [Scripted];
    const idle = merge.receive(2, 100, never);
    await clock.advance(100);
    expect(await idle).toEqual([]);
    a.asks[0]?.answer("a1", "a2", "a3");
    await clock.advance(1);
    expect(ids(await merge.receive(2, 100, never))).toEqual(["a1", "a2"]);
    expect(a.asks).toHaveLength(1);
    expect(ids(await merge.receive(2, 100, never))).toEqual(["a3"]);
  });

  test("takes turns, so that none waits behind the others", async () => {
    const { clock, merge, strands } = merged(3);
    const first = merge.receive(1, 100, never);
    for (const strand of strands) strand.asks[0]?.answer("x", "x", "x");
    await first;
    const lengths = (): number[] => strands.map(({ buffer }) => buffer.length);
    for (let n = 0; n < 5; n++) await merge.receive(1, 100, never);
    expect(lengths()).toEqual([1, 1, 1]);
    await clock.advance(1);
  });

  test("an abort hands out what was assigned meanwhile, at most what was asked for, and nothing is dropped", async () => {
    const { merge, strands } = merged(3);
    for (const [n, strand] of strands.entries()) strand.assigned = [`${n}a`, `${n}b`];
    const stop = new AbortController();
    const receiving = merge.receive(4, 60_000, stop.signal);
    stop.abort();
    const got = ids(await receiving);
    expect(got).toHaveLength(4);
    const rest = ids(await merge.receive(4, 0, never));
    expect([...got, ...rest].sort()).toEqual(["0a", "0b", "1a", "1b", "2a", "2b"]);
  });

  test("what waited here until its lease was over is left to come again, and what is behind it does not overtake it", async () => {
    const clock = new VirtualClock();
    const stale: Scripted[] = [];
    const merge = new Merge<Scripted>(clock, 30_000, { stale: (strand) => stale.push(strand) });
    const [a, b] = [new Scripted(), new Scripted()];
    for (const strand of [a, b]) merge.add(strand);
    a.buffer.push(delivery("old", 50));
    a.buffer.push(delivery("new"));
    b.buffer.push(delivery("other"));
    await clock.advance(60);
    expect(ids(await merge.receive(5, 0, never))).toEqual(["other"]);
    expect(stale).toEqual([a]);
    expect(ids(await merge.receive(5, 0, never))).toEqual([]);
    merge.close();
  });

  test("one that joins while somebody waits is asked at once, and one that leaves is not asked again", async () => {
    const { merge, strands } = merged(1);
    const [a] = strands as [Scripted];
    const late = new Scripted();
    const receiving = merge.receive(5, 1_000, never);
    merge.add(late);
    expect(late.asks).toHaveLength(1);
    a.over = true;
    merge.remove(a);
    a.asks[0]?.fail(new Error("closed"));
    late.asks[0]?.answer("l1");
    expect(ids(await receiving)).toEqual(["l1"]);
    void merge.receive(5, 1_000, never);
    expect(a.asks).toHaveLength(1);
    merge.close();
  });

  test("a strand that fails fails all receives, one that is over does not", async () => {
    const { merge, strands } = merged(2);
    const receiving = merge.receive(5, 1_000, never);
    strands[1]?.asks[0]?.fail(new Error("cut"));
    await expect(receiving).rejects.toThrow("cut");
    await expect(merge.receive(5, 1_000, never)).rejects.toThrow("cut");
  });

  test("without any it waits, and closing ends the wait", async () => {
    const { clock, merge } = merged(0);
    const receiving = merge.receive(5, 60_000, never);
    await clock.advance(1_000);
    merge.close();
    expect(await receiving).toEqual([]);
  });
});
