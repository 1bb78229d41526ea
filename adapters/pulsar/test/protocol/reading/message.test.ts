import type { WireRecord } from "brokerkit/driver";
import { expect, test } from "vitest";
import { encode, PulsarDelivery } from "../../../src/protocol/reading/message.ts";
import type { IncomingMessage, OutgoingMessage } from "../../../src/transport.ts";
import { record } from "../../stage.ts";

const shard = { id: "0" };

/** What a reader gets of what was sent. */
function delivered({ payload, nullValue = false, key, properties, eventTime }: OutgoingMessage, redeliveries = 0): PulsarDelivery {
  const id = { ledger: 5, entry: 17, partition: 0, batchIndex: 2 };
  const message: IncomingMessage = { id, payload, nullValue, key, properties, publishTime: 9, eventTime, redeliveries, producerName: "p" };
  return new PulsarDelivery(shard, false, message);
}

const through = (more: Partial<WireRecord>): PulsarDelivery => delivered(encode(record("t", "id-1", more), 1_000));

test("a usual message has one property, and its time natively", () => {
  const sent = encode(record("t", "id-1", { publishedAt: 1_234.5 }), 1_000);
  expect(sent).toMatchObject({ properties: [["brokerkit-id", "id-1"]], eventTime: 1_234, nullValue: false });
  const came = delivered(sent, 2);
  expect(came).toMatchObject({ id: "id-1", headers: [], failures: 0, publishedAt: 1_234, deliveries: 3, due: 0, place: "0:5.17.2" });
  expect(Buffer.from(came.body ?? []).toString()).toBe("id-1");
});

test("headers come back byte for byte, in order and repeated, whatever they are called or hold", () => {
  const headers: WireRecord["headers"] = [
    ["trace", Buffer.from("a")],
    ["trace", Buffer.from("b")],
    ["leer", Buffer.alloc(0)],
    ["ü \n", Buffer.from("\ufeffé\r\n")],
    ["bytes", Buffer.from([0xff, 0x00, 0xfe])],
    ["marked", Buffer.from("=?b64?AAAA")],
    ["brokerkit-id", Buffer.from("not the id")],
    ["brokerkit-x-y", Buffer.from("escaped already")],
    ["brokerkit-dead-reason", Buffer.from("attempts")],
  ];
  const came = through({ headers });
  expect(came.id).toBe("id-1");
  expect(came.headers.map(([name, value]) => [name, Buffer.from(value).toString("hex")])).toEqual(
    headers.map(([name, value]) => [name, Buffer.from(value).toString("hex")]),
  );
});

test("tombstones, failures and due times are kept", () => {
  expect(through({ body: null }).body).toBe(null);
  expect(through({ body: Buffer.alloc(0) }).body).toHaveLength(0);
  expect(through({ failures: 3 }).failures).toBe(3);
  const sent = encode(record("t", "id-1", { delayMs: 250.2 }), 1_000);
  expect(sent.deliverAt).toBe(1_251);
  expect(delivered(sent).due).toBe(1_251);
  expect(encode(record("t", "id-1", { delayMs: 0 }), 1_000).deliverAt).toBe(undefined);
});

test("what others have written stays as it is", () => {
  const came = delivered({
    payload: Buffer.from("x"),
    properties: [
      ["a", "=?b64?AAAA"],
      ["brokerkit-x-b", "1"],
    ],
    eventTime: 77,
  });
  expect(came).toMatchObject({ id: undefined, publishedAt: 9 });
  expect(came.headers.map(([name, value]) => [name, Buffer.from(value).toString()])).toEqual([
    ["a", "=?b64?AAAA"],
    ["brokerkit-x-b", "1"],
  ]);
});
