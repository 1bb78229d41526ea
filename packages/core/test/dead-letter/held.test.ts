import { expect, test } from "vitest";
import { type HeldLetter, heldLetters } from "../../src/dead-letter/held.ts";
import { letterRecord } from "../../src/dead-letter/letter.ts";
import type { Subscription } from "../../src/driver/driver.ts";
import type { SettleResult, WireDelivery } from "../../src/driver/wire.ts";

function delivery(id: string, more: Partial<WireDelivery> = {}): WireDelivery {
  return {
    shard: { id: "q" },
    place: undefined,
    id,
    key: undefined,
    headers: [],
    body: Buffer.from(id),
    publishedAt: 1_000,
    deliveries: 1,
    failures: 0,
    inbox: false,
    leaseUntil: Number.POSITIVE_INFINITY,
    ...more,
  };
}

function letter(id: string, cycle = 0): WireDelivery {
  const wire = delivery(id, { headers: [["brokerkit-cycle", Buffer.from(String(cycle))]] });
  const death = { topic: "orders", group: "billing", id, wire, reason: "attempts", error: undefined };
  const { headers } = letterRecord({ ...death, attempts: 1, firstFailedAt: 1, lastFailedAt: 1 });
  return delivery(id, { headers });
}

/** A group that hands out these batches, and then nothing. */
function group(batches: readonly (readonly WireDelivery[])[], result: SettleResult = "confirmed") {
  const left = [...batches];
  const acked: WireDelivery[] = [];
  let closed = false;
  const subscription: Subscription = {
    created: false,
    receive: async (max) => (left.shift() ?? []).slice(0, max),
    ack: async (deliveries) => {
      acked.push(...deliveries);
      return deliveries.map(() => result);
    },
    flush: async () => {},
    close: async () => {
      closed = true;
    },
  };
  return { subscription, acked, closed: () => closed };
}

class Full extends Error {}
const OPTIONS = {
  max: 10,
  most: 5,
  stop: new AbortController().signal,
  full: (): never => {
    throw new Full();
  },
};

async function all(letters: AsyncIterable<HeldLetter>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { read } of letters) ids.push(read.id);
  return ids;
}

test("each letter is seen once, what is no letter is passed over, and everything goes back in the end", async () => {
  const { subscription, acked, closed } = group([
    [letter("a"), delivery("foreign")],
    [letter("a"), letter("b")],
  ]);
  expect(await all(heldLetters(subscription, OPTIONS))).toEqual(["a", "b"]);
  expect([acked, closed()]).toEqual([[], true]);
});

test("a letter that is settled takes its copies with it, but not one of a later trip", async () => {
  const copies = [letter("a"), letter("a"), letter("a", 1)];
  const { subscription, acked } = group([[copies[0] as WireDelivery], copies.slice(1)]);
  for await (const { settle } of heldLetters(subscription, OPTIONS)) await settle();
  expect(acked).toEqual(copies.slice(0, 2));
});

test("a reading that is left early gives back what it has", async () => {
  const { subscription, closed } = group([[letter("a"), letter("b")]]);
  for await (const _ of heldLetters(subscription, OPTIONS)) break;
  expect(closed()).toBe(true);
});

test("letters that only come back end the reading", async () => {
  const { subscription, closed } = group(Array.from({ length: 100 }, () => [letter("a")]));
  expect(await all(heldLetters(subscription, OPTIONS))).toEqual(["a"]);
  expect(closed()).toBe(true);
});

test("more letters than can be out at once are no shorter list", async () => {
  const { subscription, closed } = group([["a", "b", "c", "d", "e", "f"].map((id) => letter(id))]);
  await expect(all(heldLetters(subscription, OPTIONS))).rejects.toThrow(Full);
  expect(closed()).toBe(true);
});

test("a letter that can't be settled says why", async () => {
  const { subscription } = group([[letter("a")]], { error: new Error("gone") });
  const settling = async (): Promise<void> => {
    for await (const { settle } of heldLetters(subscription, OPTIONS)) await settle();
  };
  await expect(settling()).rejects.toThrow("gone");
});

test("a group that can't be flushed is closed all the same", async () => {
  const { subscription, closed } = group([[letter("a")]]);
  const broken = { ...subscription, flush: () => Promise.reject(new Error("the link is down")) };
  const reading = async (): Promise<void> => {
    for await (const _ of heldLetters(broken, OPTIONS));
  };
  await expect(reading()).rejects.toThrow("the link is down");
  expect(closed()).toBe(true);
});
