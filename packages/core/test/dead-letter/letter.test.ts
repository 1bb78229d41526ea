import { expect, test } from "vitest";
import { Fold } from "../../src/dead-letter/fold.ts";
import {
  letterFacts,
  letterRecord,
  markerRecord,
  type ReadLetter,
  readLetter,
  redriveRecord,
  requeueRecord,
} from "../../src/dead-letter/letter.ts";
import type { Place, WireDelivery, WireHeader, WireRecord } from "../../src/driver/wire.ts";

const text = (value: string): Uint8Array => Buffer.from(value);

function delivered(record: Partial<WireRecord> & { headers?: readonly WireHeader[] }): WireDelivery {
  return {
    shard: { id: "0" },
    place: "0:7" as Place,
    id: record.id,
    key: record.key,
    headers: record.headers ?? [],
    body: record.body === undefined ? text("body") : record.body,
    publishedAt: 1_000,
    deliveries: 1,
    failures: 0,
    inbox: false,
    leaseUntil: Number.POSITIVE_INFINITY,
  };
}

function letter(wire: WireDelivery, error: unknown = new TypeError("no\r\nmore")): WireRecord {
  return letterRecord({
    topic: "orders",
    group: "billing",
    id: wire.id ?? "",
    wire,
    reason: "attempts",
    error,
    attempts: 5,
    firstFailedAt: 10,
    lastFailedAt: 20,
  });
}

const read = (record: WireRecord): ReadLetter => readLetter(delivered(record)) as ReadLetter;

test("a dead letter keeps body, key and headers, and says why, how often, when and from where", () => {
  const wire = delivered({ id: "m1", key: text("ada"), headers: [["trace", text("t")]] });
  const record = letter(wire);
  expect(record.target).toEqual({ topic: "orders.billing.dead" });
  expect([record.id, record.body, record.key]).toEqual(["m1", wire.body, wire.key]);
  expect(record.headers).toContainEqual(["trace", text("t")]);
  expect(letterFacts(delivered(record))).toEqual({
    reason: "attempts",
    error: { name: "TypeError", message: "no more" },
    attempts: 5,
    firstFailedAt: 10,
    lastFailedAt: 20,
    topic: "orders",
    group: "billing",
    place: "0:7",
  });
});

test("a redriven message is the message again: same id, body, key and headers, for its group only, with fresh attempts", () => {
  const wire = delivered({ id: "m1", key: text("ada"), headers: [["trace", text("t")]] });
  const again = redriveRecord(read(letter(wire)), "orders", "billing");
  expect(again).toMatchObject({ target: { topic: "orders", group: "billing" }, id: "m1", body: wire.body, key: wire.key, failures: 0 });
  expect(again.headers.filter(([name]) => name !== "brokerkit-cycle")).toEqual([["trace", text("t")]]);
});

test("a tombstone that died is redriven as a tombstone", () => {
  const record = letter(delivered({ id: "m1", body: null }));
  expect(record.body).not.toBeNull();
  expect(redriveRecord(read(record), "orders", "billing").body).toBeNull();
});

test("every act of publishing has its own dedupeId through requeue, death, redrive and death again", () => {
  const wire = delivered({ id: "m1" });
  const requeued = requeueRecord({ topic: "orders", group: "billing", id: "m1", wire, failures: 1, delayMs: 5 });
  const requeuedAgain = requeueRecord({ topic: "orders", group: "billing", id: "m1", wire, failures: 2, delayMs: 5 });
  const dead = letter(wire);
  const redriven = redriveRecord(read(dead), "orders", "billing");
  const marker = markerRecord(read(dead), "orders", "billing", "redriven", 1);
  const deadAgain = letter(delivered(redriven));
  const redrivenAgain = redriveRecord(read(deadAgain), "orders", "billing");
  const ids = [requeued, requeuedAgain, dead, redriven, marker, deadAgain, redrivenAgain].map((record) => record.dedupeId);
  expect(new Set([...ids, "m1"]).size).toBe(ids.length + 1);
});

test("of each id only the last letter stands that no marker follows", () => {
  const a = letter(delivered({ id: "a" }));
  const b = letter(delivered({ id: "b" }));
  const log = [
    a,
    b,
    markerRecord(read(a), "orders", "billing", "redriven", 1),
    a,
    a,
    markerRecord(read(b), "orders", "billing", "purged", 2),
  ].map(delivered);
  const fold = new Fold();
  for (const wire of log) fold.learn(wire);
  expect(log.map((wire) => fold.stands(wire)?.id)).toEqual([undefined, undefined, undefined, undefined, "a", undefined]);
});

test("a message that died again before the marker of its redrive was written still stands", () => {
  const first = letter(delivered({ id: "a" }));
  const again = letter(delivered(redriveRecord(read(first), "orders", "billing")));
  const log = [first, again, markerRecord(read(first), "orders", "billing", "redriven", 1)].map(delivered);
  const fold = new Fold();
  for (const wire of log) fold.learn(wire);
  expect(log.map((wire) => fold.stands(wire)?.id)).toEqual([undefined, "a", undefined]);
});

test("a foreign record in a dead topic is no letter", () => {
  expect(readLetter(delivered({ id: "x" }))).toBeUndefined();
});
