import type { WireRecord } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { consumerName, generationOf, inboxNamesOf, namesOf } from "../src/jetstream/mapping.ts";
import { decode, encodeHeaders } from "../src/mapping.ts";
import { record } from "./stage.ts";

/** Through the wire and back. */
function through(one: WireRecord, dedupe = true, sequence = "") {
  const block = Buffer.from(encodeHeaders(one, dedupe, sequence), "latin1");
  return { text: block.toString(), decoded: decode(block.toString("latin1"), Buffer.from(one.body ?? [])) };
}

describe("headers", () => {
  const bytes = (...all: number[]): Buffer => Buffer.from(all);
  const values: readonly (readonly [string, Buffer])[] = [
    ["text", Buffer.from("plain")],
    ["empty", bytes()],
    ["spaces around", Buffer.from("  x\t")],
    ["line breaks", Buffer.from("a\r\nNats-Rollup: all")],
    ["all bytes", Buffer.from(Array.from({ length: 256 }, (_, n) => n))],
    ["text beyond ASCII", Buffer.from("grüße 你好 🚀")],
    ["no UTF-8", bytes(0x61, 0xff, 0xfe)],
    ["what looks encoded", Buffer.from("=?b64?eA==")],
    ["an equals sign", Buffer.from("=1")],
  ];

  test.each(values)("a value of %s comes back byte by byte, as a header and as a key", (_, value) => {
    const { decoded } = through(record("t", "1", { headers: [["a", value]], key: value }));
    expect(decoded.headers.map(([name, bytesOf]) => [name, Buffer.from(bytesOf).toString("hex")])).toEqual([["a", value.toString("hex")]]);
    expect(decoded.key?.toString("hex")).toBe(value.toString("hex"));
  });

  test("text stays readable for others; the rest is in base 64", () => {
    const headers = values.map(([, value], n) => [`h${n}`, value] as const);
    const lines = through(record("t", "1", { headers })).text.split("\r\n");
    const found = Object.fromEntries(lines.filter((line) => line.startsWith("h")).map((line) => line.split(": ")));
    expect(found["h0"]).toBe("plain");
    expect(found["h5"]).toBe("grüße 你好 🚀");
    expect(found["h8"]).toBe("=1");
    for (const encoded of ["h2", "h3", "h4", "h6", "h7"]) expect(found[encoded]).toMatch(/^=\?b64\?[A-Za-z0-9+/=]+$/);
  });

  test.each([
    "Nats-Rollup",
    "nats-msg-id",
    "Nats-Expected-Last-Sequence",
    "ü",
    "a b",
    "a:b",
    "brokerkit-1",
    "brokerkit-id",
    "brokerkit-x-a",
  ])("the name %s means nothing to the server or to us, and comes back", (name) => {
    const { text, decoded } = through(record("t", "1", { headers: [[name, Buffer.from("all")]] }));
    const names = text.split("\r\n").map((line) => line.split(":")[0]);
    expect(names.filter((one) => one?.toLowerCase().startsWith("nats-"))).toEqual(["Nats-Msg-Id"]);
    expect(decoded.headers.map(([one]) => one)).toEqual([name]);
    expect(decoded.id).toBe("1");
  });

  test("repeated names keep their order", () => {
    const headers = ["a", "b", "a"].map((name, n) => [name, Buffer.from(String(n))] as const);
    expect(through(record("t", "1", { headers })).decoded.headers.map(([name, value]) => `${name}${String(value)}`)).toEqual([
      "a0",
      "b1",
      "a2",
    ]);
  });

  test("id, dedupe id, time, tombstone, failures, delay and sequence come back", () => {
    const one = record("t", "ïd 1", { dedupeId: "other", body: null, publishedAt: 1_700_000_000_001.7, failures: 3, delayMs: 250.2 });
    const { text, decoded } = through(one, true, "epoch 7");
    expect(text).toContain("Nats-Msg-Id: other\r\n");
    expect(decoded).toMatchObject({
      id: "ïd 1",
      body: null,
      publishedAt: 1_700_000_000_001,
      failures: 3,
      delayMs: 251,
      sequence: "epoch 7",
    });
    expect(through(record("t", "1"), false).text).not.toContain("Nats-");
    expect(through(record("t", "1"), false).decoded).toMatchObject({ id: "1", failures: 0, delayMs: 0, sequence: undefined });
  });

  test("foreign messages are taken as they are: their dedupe id is the id, headers are bytes, nothing is unescaped", () => {
    const block = Buffer.from("NATS/1.0\r\nNats-Msg-Id: theirs\r\nA:  x \r\na: =?b64?eA==\r\nbrokerkit-x-%41: y\r\nnonsense\r\n\r\n");
    const { id, key, headers, body, publishedAt } = decode(block.toString("latin1"), Buffer.from("b"));
    expect([id, key, String(body), publishedAt]).toEqual(["theirs", undefined, "b", undefined]);
    expect(headers.map(([name, value]) => [name, String(value)])).toEqual([
      ["A", "x"],
      ["a", "=?b64?eA=="],
      ["brokerkit-x-%41", "y"],
    ]);
    expect(decode(undefined, Buffer.alloc(0))).toMatchObject({ id: undefined, headers: [] });
  });

  test("our marks with nonsense in them break nothing", () => {
    for (const meta of ["", "x", "1 y", "1 7", "NaN 1"]) {
      const block = Buffer.from(`NATS/1.0\r\nbrokerkit-1: ${meta}\r\nbrokerkit-x-%: v\r\nbrokerkit-key: =?b64?*\r\n\r\n`);
      expect(() => decode(block.toString("latin1"), Buffer.alloc(1))).not.toThrow();
    }
  });
});

describe("names", () => {
  test("topics, inboxes and dead letters have names of their own, whatever dots they have", () => {
    const topics = ["a", "a.b", "a..b", "a-b", "a_b", "a.b.g.dead", "A", `${"x.".repeat(99)}y`, `${"x.".repeat(99)}z`];
    const all = topics.flatMap((topic) => [namesOf("", topic), inboxNamesOf("", topic, "g"), inboxNamesOf("", topic, "g".repeat(100))]);
    expect(new Set(all.map(({ stream }) => stream)).size).toBe(all.length);
    expect(new Set(all.map(({ subject }) => subject)).size).toBe(all.length);
    for (const { stream, subject } of all) {
      expect(stream).toMatch(/^[A-Za-z0-9_~=-]{1,200}$/);
      expect(subject).toMatch(/^[A-Za-z0-9_=-]+(\.[A-Za-z0-9_=-]+)*$/);
    }
    expect(namesOf("app.", "orders")).toEqual({ stream: "app~orders", subject: "app.orders" });
  });

  test("a group's consumers are told by their generation", () => {
    expect([0, 1, 12].map((generation) => consumerName("g", generation))).toEqual(["g", "g~1", "g~12"]);
    expect(["g", "g~1", "g~12", "g~x", "g~01", "gg", "h", "g~"].map((name) => generationOf("g", name))).toEqual([
      0,
      1,
      12,
      ...Array(5).fill(undefined),
    ]);
  });
});
