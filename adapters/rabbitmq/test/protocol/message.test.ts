import type { WireHeader, WireRecord } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { Frames } from "../../src/protocol/frames.ts";
import { decode, deliveriesOf, encode, type Message } from "../../src/protocol/message.ts";
import { written } from "./wire.ts";

const base: WireRecord = {
  target: { topic: "t" },
  id: "1",
  dedupeId: "1",
  key: undefined,
  headers: [],
  body: Buffer.from("body"),
  publishedAt: 1_700_000_000_123,
};
const fields = { exchange: "t", routingKey: "t", redelivered: false };

/** What a reader gets of what was written. */
function through(record: WireRecord, added: Readonly<Record<string, unknown>> = {}) {
  const { body, properties } = encode(record);
  const frames = new Frames(1, 131_072);
  frames.add({ exchange: "t", routingKey: "t", mandatory: false }, properties, body);
  const [message] = written(frames.take(), 131_072);
  if (message === undefined) throw new Error("nothing was written");
  const headers = { ...message.properties.headers, ...added };
  return decode({ content: message.content, fields, properties: { ...message.properties, headers } });
}

describe("a record", () => {
  test("comes back as it was, in all its parts", () => {
    const headers: WireHeader[] = [
      ["text", Buffer.from("é")],
      ["bytes", Buffer.from([0, 255])],
      ["empty", Buffer.alloc(0)],
      ["twice", Buffer.from("a")],
      ["twice", Buffer.from([255])],
      ["__proto__", Buffer.from("p")],
      ["CC", Buffer.from("nobody")],
      ["x-death", Buffer.from("mine")],
      ["constructor", Buffer.from("c")],
    ];
    const decoded = through({ ...base, key: Buffer.from([0, 159]), headers, failures: 3 });
    expect(decoded).toEqual({
      id: "1",
      key: Buffer.from([0, 159]),
      headers,
      body: Buffer.from("body"),
      publishedAt: 1_700_000_000_123,
      failures: 3,
      expiresAt: Number.POSITIVE_INFINITY,
    });
  });

  test.each([0, 1, 2, 250])("keeps %d headers, in their order", (count) => {
    const headers: WireHeader[] = Array.from({ length: count }, (_, n) => [`h${n}`, Buffer.from(`${n}`)]);
    expect(through({ ...base, headers }).headers).toEqual(headers);
  });

  test("that is a tombstone is told from an empty body", () => {
    expect(through({ ...base, body: null }).body).toBeNull();
    expect(through({ ...base, body: Buffer.alloc(0) }).body).toEqual(Buffer.alloc(0));
  });

  test("says its time to live to the server, or to the reader where a delay comes before", () => {
    expect(encode({ ...base, ttlMs: 1_500.2 }).properties.expiration).toBe("1501");
    const late = { ...base, ttlMs: 1_000, delayMs: 500, failures: 2 };
    expect(encode(late).properties.expiration).toBeUndefined();
    expect(through(late)).toMatchObject({ expiresAt: 1_700_000_001_623, failures: 2 });
  });

  test("whose headers do not fit is refused", () => {
    const headers: WireHeader[] = [["a", Buffer.alloc(65_000, 97)]];
    expect(() => encode({ ...base, headers })).toThrow(/65000/);
    expect(() => encode({ ...base, headers: [["a", Buffer.alloc(64_000, 97)]] })).not.toThrow();
  });

  test("shows nothing of what servers add on the way", () => {
    const death = [{ reason: "expired", count: 1 }];
    expect(through(base, { "x-death": death, "x-first-death-queue": "q", "x-delivery-count": 2 }).headers).toEqual([]);
  });
});

describe("a foreign message", () => {
  const foreign = (properties: Message["properties"], body = "body"): Message => ({ content: Buffer.from(body), fields, properties });

  test("keeps its body and id, and its headers as text", () => {
    const headers = {
      n: 7,
      yes: true,
      none: null,
      at: { "!": "timestamp", value: 1_700_000_000 },
      list: [1, "a"],
      bytes: Buffer.from([255]),
      "brokerkit-1": "x",
    };
    const decoded = decode(foreign({ headers, messageId: "theirs", timestamp: 1_700_000_000, contentType: "text/plain" }));
    expect(decoded).toMatchObject({ id: "theirs", key: undefined, body: Buffer.from("body"), publishedAt: 1_700_000_000_000, failures: 0 });
    expect(decoded.headers.map(([name, value]) => [name, Buffer.from(value).toString("latin1")])).toEqual([
      ["n", "7"],
      ["yes", "true"],
      ["none", ""],
      ["at", "2023-11-14T22:13:20.000Z"],
      ["list", '[1,"a"]'],
      ["bytes", "\xff"],
      ["brokerkit-1", "x"],
      ["content-type", "text/plain"],
    ]);
  });

  test("without an id has the same one at each delivery, and another than others have", () => {
    const first = decode(foreign({ headers: { a: 1 } }));
    expect(decode(foreign({ headers: { a: 1, "x-delivery-count": 3 } })).id).toBe(first.id);
    for (const other of [
      foreign({ headers: { a: 2 } }),
      foreign({ headers: { a: 1 } }, "other"),
      foreign({ headers: { a: 1 }, timestamp: 1 }),
    ])
      expect(decode(other).id).not.toBe(first.id);
    expect(first).toMatchObject({ id: expect.stringMatching(/^amqp-/), publishedAt: 0 });
  });
});

test.each([
  [{}, false, 1],
  [{}, true, 2],
  [{ "x-delivery-count": 1 }, true, 2],
  [{ "x-delivery-count": 4 }, false, 5],
  [{ "x-delivery-count": 1, "x-acquired-count": 6 }, true, 7],
  [{ "x-delivery-count": "nonsense" }, false, 1],
])("headers %j, redelivered %s: delivery %d", (headers, redelivered, deliveries) => {
  expect(deliveriesOf({ content: Buffer.alloc(0), fields: { ...fields, redelivered }, properties: { headers } })).toBe(deliveries);
});
