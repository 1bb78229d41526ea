import { expect, test } from "vitest";
import type { ConsumerInfo } from "../../../src/jetstream/protocol/api.ts";
import { Succession } from "../../../src/jetstream/protocol/succession.ts";

const info = (delivered: number, pending: number, floor: number, number = delivered): ConsumerInfo => ({
  name: "g",
  config: { deliver_policy: "all", ack_policy: "explicit" },
  delivered: { consumer_seq: number, stream_seq: delivered },
  ack_floor: { consumer_seq: floor, stream_seq: floor },
  num_ack_pending: pending,
  num_pending: 0,
});
const came = (own: Succession, consumer: number, stream: number, deliveries = 1, again = false) =>
  own.came({ consumer, stream, deliveries, storedAt: 0 }, again);

test("nothing is awaited where nothing is pending", () => {
  const own = new Succession(info(5, 0, 5));
  expect(own.open).toBe(false);
  came(own, 6, 6);
  expect(own.open).toBe(false);
});

test("what is pending is asked for from the floor on, and over when all of it has come", () => {
  const own = new Succession(info(5, 2, 1));
  expect([own.open, own.left]).toEqual([true, 0]);
  own.seen(info(5, 2, 1), 0);
  expect([own.left, own.range]).toEqual([2, { from: 2, to: 5 }]);
  came(own, 6, 5, 2);
  came(own, 7, 6);
  expect(own.open).toBe(true);
  came(own, 8, 2, 3);
  expect(own.open).toBe(false);
});

test("the same twice, what is ours, and what is new count for nothing", () => {
  const own = new Succession(info(5, 2, 1));
  own.seen(info(5, 2, 1), 0);
  came(own, 6, 3, 2);
  came(own, 7, 3, 3);
  came(own, 8, 4, 2, true);
  came(own, 9, 6, 2);
  expect(own.left).toBe(1);
});

test("a hole in the numbers opens it again, until the consumer says that all is here", () => {
  const own = new Succession(info(5, 0, 5));
  came(own, 6, 6);
  came(own, 8, 8);
  expect(own.open).toBe(true);
  own.seen(info(8, 3, 5), 2);
  expect([own.left, own.range]).toEqual([1, { from: 6, to: 8 }]);
  own.seen(info(8, 2, 5), 2);
  expect(own.open).toBe(false);
});
