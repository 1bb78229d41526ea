import type { WireHeader, WireRecord } from "brokerkit/driver";
import { expect, test } from "vitest";
import { decode, encode } from "../../src/protocol/message.ts";
import { record } from "../stage.ts";

const header = (name: string, value: string | Uint8Array): WireHeader => [name, Buffer.from(value as string)];

function there(more: Partial<WireRecord>, dueMs?: number) {
  const sent = encode(record("t", "id-1", more), dueMs);
  return { sent, got: decode(sent.text, sent.attributes) };
}

test.each([
  ["JSON", '{"a":"ü€😀"}', '{"a":"ü€😀"}'],
  ["lines", "a\tb\r\nc", "a\tb\r\nc"],
  ["text that looks like our placeholder", "-", "-"],
])("a body that is text is the text of the message: %s", (_, body, text) => {
  const { sent, got } = there({ body: Buffer.from(body) });
  expect(sent.text).toBe(text);
  expect(Buffer.from(got.body as Uint8Array).toString()).toBe(body);
});

test.each([
  ["nothing", new Uint8Array(0)],
  ["NUL", Buffer.from("a\0b")],
  ["a control character", Buffer.from("a\x0bb")],
  ["no character of XML", Buffer.from("\ufffe")],
  ["no UTF-8", Buffer.from([0xff, 0xfe, 0])],
  ["a byte", Buffer.from([0x80])],
])("a body that the service can't take as text comes back byte by byte: %s", (_, body) => {
  const { got } = there({ body });
  expect(Buffer.from(got.body as Uint8Array).equals(Buffer.from(body))).toBe(true);
});

test("a tombstone is neither an empty body nor a missing one", () => {
  expect(there({ body: null }).got.body).toBeNull();
});

test("ids, times, keys and failures come back as they were", () => {
  const key = new Uint8Array([0, 0xff]);
  const { got } = there({ key, publishedAt: 1_763_735_000_001, failures: 3, target: { topic: "t", group: "g" } }, 1_763_735_009_000.2);
  expect(got).toMatchObject({ id: "id-1", publishedAt: 1_763_735_000_001, failures: 3, inbox: true, dueMs: 1_763_735_009_001 });
  expect(Buffer.from(got.key as Uint8Array)).toEqual(Buffer.from(key));
  expect(Buffer.from(there({ key: Buffer.from("") }).got.key as Uint8Array)).toEqual(Buffer.from(""));
  expect(Buffer.from(there({ key: Buffer.from('k"\uffff') }).got.key as Uint8Array).toString()).toBe('k"\uffff');
});

test("headers keep order, repetition and bytes; eight of them are attributes that others can read", () => {
  const headers = [
    header("b", "1"),
    header("a", "2"),
    header("a", "again"),
    header("empty", ""),
    header("bytes", new Uint8Array([0, 255])),
    header("aws.mine", "not allowed as an attribute"),
    header("brokerkit", "not ours"),
    ...Array.from({ length: 20 }, (_, n) => header(`h${n}`, `v${n}`)),
  ];
  const { sent, got } = there({ headers });
  expect(Object.keys(sent.attributes).length).toBeLessThanOrEqual(10);
  expect(sent.attributes["b"]).toEqual({ DataType: "String", StringValue: "1" });
  expect(got.headers.map(([name, value]) => [name, Buffer.from(value)])).toEqual(
    headers.map(([name, value]) => [name, Buffer.from(value)]),
  );
});

test("a stranger's message is its body, and its attributes are headers", () => {
  const got = decode("plain", {
    color: { DataType: "String", StringValue: "red" },
    raw: { DataType: "Binary", BinaryValue: "AQ==" },
  });
  expect(got).toMatchObject({ id: undefined, key: undefined, publishedAt: undefined, failures: 0, inbox: false });
  expect(got.headers.map(([name, value]) => [name, Buffer.from(value).toString("hex")])).toEqual([
    ["color", "726564"],
    ["raw", "01"],
  ]);
});

test.each([
  "",
  "{",
  "null",
  "[]",
  "7",
  '{"id":7,"at":1}',
  '{"id":"a"}',
  '{"id":"a","at":"1"}',
  '{"id":"a","at":1,"headers":[7]}',
  '{"id":"a","at":1,"key":{}}',
])("who uses our attribute for something else is a stranger: %s", (text) => {
  const got = decode("plain", { brokerkit: { DataType: "String", StringValue: text } });
  expect(got.id).toBeUndefined();
  expect(got.headers.map(([name]) => name)).toEqual(["brokerkit"]);
});

test("bytes are counted as the service counts them: the text, and of attributes name, type and value", () => {
  const { sent } = there({ body: Buffer.from("€"), headers: [header("h", "ü")] });
  const counted = Object.entries(sent.attributes).map(
    ([name, { DataType, StringValue = "" }]) => name.length + DataType.length + Buffer.byteLength(StringValue),
  );
  expect(sent.bytes).toBe(counted.reduce((a, b) => a + b, Buffer.byteLength(sent.text)));
});
