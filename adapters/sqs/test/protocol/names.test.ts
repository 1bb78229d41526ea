import type { WireRecord } from "brokerkit/driver";
import { expect, test } from "vitest";
import { deduplicationId, messageGroup, Names } from "../../src/protocol/names.ts";
import { record } from "../stage.ts";

const names = new Names("", false);
const fifo = new Names("app-", true);
const LONG = "x".repeat(200);

test("simple names stay as they are; a dot becomes two dashes, a group stands behind three", () => {
  expect(names.topic("my_orders-eu")).toBe("my_orders-eu");
  expect(names.topic("orders.eu")).toBe("orders--eu");
  expect(names.group("orders.eu", "billing")).toBe("orders--eu---billing");
  expect(fifo.topic("orders")).toBe("app-orders.fifo");
  expect(fifo.group("orders", "billing")).toBe("app-orders---billing.fifo");
});

test("no two topics and groups have one name, whatever they are called", () => {
  const topics = ["a.b", "a-b", "a--b", "a---b", "a-.b", "a.-b", "a_b", "a-", "a-b.c", "a.b-c", "A.b", LONG, `${LONG}y`.slice(1)];
  const groups = ["b", "-b", "b-", "--b", "b--c", "b-c", "b_c", "B", "y".repeat(100)];
  const all = topics.flatMap((topic) => [
    names.plain(topic),
    ...groups.flatMap((group) => [names.group(topic, group), names.undeliverable(topic, group)]),
    names.broadcast(topic, "0123456789abcdef"),
  ]);
  expect(new Set(all).size).toBe(all.length);
  expect(new Set(topics.map((topic) => names.topic(topic))).size).toBe(topics.length);
});

test("names keep to the service's letters and lengths", () => {
  for (const one of [names, fifo]) {
    for (const topic of ["a.b-.c", LONG]) {
      expect(one.topic(topic)).toMatch(/^[A-Za-z0-9_-]+(\.fifo)?$/);
      expect(one.topic(topic).length).toBeLessThanOrEqual(256);
      for (const queue of [one.group(topic, "g".repeat(100)), one.broadcast(topic, "0123456789abcdef"), one.undeliverable(topic, "g")]) {
        expect(queue).toMatch(/^[A-Za-z0-9_-]+(\.fifo)?$/);
        expect(queue.length).toBeLessThanOrEqual(80);
      }
    }
  }
});

test("a queue's name tells its group, or that only its tags do", () => {
  expect(names.groupOf("orders.eu", names.group("orders.eu", "billing"))).toBe("billing");
  expect(fifo.groupOf("orders", fifo.group("orders", "billing"))).toBe("billing");
  expect(names.groupOf("orders", names.group("orders", "-odd-"))).toBe("hash");
  expect(names.groupOf("orders", "somebody-elses")).toBeUndefined();
  expect(names.groupOf("orders", names.broadcast("orders", "0123456789abcdef"))).toBeUndefined();
  expect(names.isBroadcast(names.broadcast("orders", "0123456789abcdef"))).toBe(true);
  expect(names.isBroadcast(names.undeliverable("orders", "billing"))).toBe(false);
});

const keyed = (key: string | Uint8Array | undefined, more: Partial<WireRecord> = {}): string =>
  messageGroup(record("t", "id", { key: typeof key === "string" ? Buffer.from(key) : key, ...more }));

test("one key is one message group; keys that the service does not take are told apart by a hash", () => {
  expect(keyed("customer-7")).toBe("customer-7");
  const odd = ["", "with space", "ü", "~tilde", "k".repeat(129), new Uint8Array([0xff]), new Uint8Array([0xfe])].map((key) => keyed(key));
  expect(new Set(odd).size).toBe(odd.length);
  for (const group of odd) expect(group).toMatch(/^~[\x21-\x7e]{1,127}$/);
});

test("a topic that is one sequence is one message group, which no key is; its dead letters are not", () => {
  expect(keyed("a", { order: "topic" })).toBe(keyed("b", { order: "topic" }));
  expect(keyed(undefined, { order: "topic" })).toBe(keyed("b", { order: "topic" }));
  expect(keyed(keyed("a", { order: "topic" }))).not.toBe(keyed("a", { order: "topic" }));
  const letter = (dedupeId: string): string => keyed("a", { order: "topic", dedupeId, target: { topic: "t.g.dead" } });
  expect(letter("1")).not.toBe(letter("2"));
});

test("a message without a key, and a dead letter, waits for nobody; publishing it again is the same group", () => {
  const alone = (dedupeId: string) => keyed(undefined, { dedupeId });
  expect(alone("a")).toBe(alone("a"));
  expect(alone("a")).not.toBe(alone("b"));
  expect(keyed("k", { target: { topic: "t.g.dead" }, dedupeId: "a" })).not.toBe(
    keyed("k", { target: { topic: "t.g.dead" }, dedupeId: "b" }),
  );
});

test("deduplication ids are visible ASCII, at most 128, and different for different acts of publishing", () => {
  const ids = ["a", "a#g#1", "x".repeat(128), "x".repeat(129), "x".repeat(130), "~a"].map((dedupeId) =>
    deduplicationId(record("t", "i", { dedupeId })),
  );
  expect(ids[0]).toBe("a");
  expect(new Set(ids).size).toBe(ids.length);
  for (const id of ids) expect(id).toMatch(/^[\x21-\x7e]{1,128}$/);
});
