import { describe, expect, test } from "vitest";
import { classify } from "../../src/errors.ts";
import { type Address, Frames, type Properties } from "../../src/protocol/frames.ts";
import { byTheClient, written } from "./wire.ts";

const FRAME_MAX = 4_096;
const CHANNEL = 3;
const address: Address = { exchange: "orders", routingKey: "orders", mandatory: false };
const inbox: Address = { exchange: "", routingKey: "orders.billing", mandatory: true };
const plain: Properties = { headers: [], messageId: "1" };

function bytes(length: number): Buffer {
  return Buffer.from(Array.from({ length }, (_, n) => (n * 31) % 256));
}

/** One message through the encoder and the client's decoder. */
function through(properties: Properties, body: Uint8Array = Buffer.alloc(0), to = address) {
  const frames = new Frames(CHANNEL, FRAME_MAX);
  frames.add(to, properties, body);
  const [message, ...more] = written(frames.take(), FRAME_MAX);
  expect(more).toEqual([]);
  if (message === undefined) throw new Error("nothing was written");
  return message;
}

describe("a message", () => {
  test.each([0, 1, 255, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, FRAME_MAX - 1, FRAME_MAX, FRAME_MAX + 1, 3 * FRAME_MAX, 300_000])(
    "with a body of %d bytes is read as it was",
    (length) => {
      const body = bytes(length);
      expect(through(plain, body).content.equals(body)).toBe(true);
    },
  );

  test("has its channel, its exchange, its routing key and whether it may come back", () => {
    expect(through(plain)).toMatchObject({ channel: CHANNEL, method: { ...address, immediate: false } });
    expect(through(plain, bytes(1), inbox)).toMatchObject({ channel: CHANNEL, method: { ...inbox, immediate: false } });
  });

  test("has the properties that were given, is persistent, and has no others", () => {
    const all = { ...plain, messageId: "é-1", timestamp: 2 ** 32 + 7, expiration: "1500", priority: 9 };
    const given = (properties: Properties): object =>
      Object.fromEntries(Object.entries(through(properties).properties).filter(([, value]) => value !== undefined));
    expect(given(all)).toEqual({ headers: {}, messageId: "é-1", timestamp: 2 ** 32 + 7, expiration: "1500", priority: 9, deliveryMode: 2 });
    expect(given(plain)).toEqual({ headers: {}, messageId: "1", deliveryMode: 2 });
    expect(given({ ...plain, timestamp: 0, priority: 0 })).toMatchObject({ timestamp: 0, priority: 0 });
  });

  test("has its headers: text where it is text, bytes where it is not, lists of both", () => {
    const headers: Properties["headers"] = [
      ["string", "ö"],
      ["text", Buffer.from("é")],
      ["bytes", new Uint8Array([0, 255])],
      ["empty", ""],
      ["nothing", new Uint8Array(0)],
      ["list", [Buffer.from("a"), "b", Buffer.from([255])]],
      ["ñame", "x".repeat(1_000)],
    ];
    expect(through({ ...plain, headers }).properties.headers).toEqual({
      string: "ö",
      text: "é",
      bytes: Buffer.from([0, 255]),
      empty: "",
      nothing: "",
      list: ["a", "b", Buffer.from([255])],
      ñame: "x".repeat(1_000),
    });
  });

  test("is byte for byte what the client would write", () => {
    const headers: Properties["headers"] = [
      ["brokerkit-1", "1700000000123 1"],
      ["bytes", Buffer.from([0, 255])],
      ["list", ["a", Buffer.from([255])]],
    ];
    const given = { messageId: "m-1", timestamp: 1_700_000_000, expiration: "20", priority: 3 };
    for (const body of [bytes(0), bytes(200), bytes(10_000)]) {
      const frames = new Frames(CHANNEL, FRAME_MAX);
      frames.add(inbox, { ...given, headers }, body);
      const theirs = byTheClient(
        CHANNEL,
        { ...inbox, ticket: 0, immediate: false },
        { ...given, headers: Object.fromEntries(headers), deliveryMode: 2 },
        body,
        FRAME_MAX,
      );
      expect(Buffer.concat(frames.take()).equals(theirs)).toBe(true);
    }
  });
});

describe("messages of several calls", () => {
  test("of all sizes and for several places follow each other in whole frames", () => {
    const frames = new Frames(CHANNEL, FRAME_MAX);
    const places = [address, inbox, { ...address, routingKey: "other" }, { ...address, mandatory: true }];
    const sizes = [0, 1, 300, 5_000, 100_000];
    const sent: { to: Address; id: string; body: Buffer }[] = [];
    const taken: Buffer[] = [];
    for (let n = 0; n < 2_000; n++) {
      const to = places[Math.floor(n / 3) % places.length] as Address;
      const message = { to, id: `m-${n}`, body: bytes(n % 97 === 0 ? (sizes[n % sizes.length] as number) : n % 400) };
      sent.push(message);
      frames.add(to, { ...plain, messageId: message.id, headers: [["n", String(n)]] }, message.body);
      if (n % 7 === 0) taken.push(...frames.take());
    }
    taken.push(...frames.take());
    expect(frames.take()).toEqual([]);
    const got = written(taken, FRAME_MAX);
    expect(
      got.map(({ method, properties, content }) => [
        method["exchange"],
        method["routingKey"],
        method["mandatory"],
        properties,
        content.length,
      ]),
    ).toEqual(
      sent.map(({ to, id, body }) => [
        to.exchange,
        to.routingKey,
        to.mandatory,
        expect.objectContaining({ messageId: id, headers: { n: id.slice(2) } }),
        body.length,
      ]),
    );
    expect(got.every(({ content }, n) => content.equals(sent[n]?.body as Buffer))).toBe(true);
  });

  const long = "x".repeat(256);
  test.each<[string, Address, Properties, string]>([
    ["an id", address, { ...plain, messageId: long }, "INVALID_ARGUMENT"],
    ["a header's name", address, { ...plain, headers: [[long, ""]] }, "INVALID_ARGUMENT"],
    ["a routing key", { ...address, routingKey: long }, plain, "INVALID_ARGUMENT"],
    ["headers", address, { ...plain, headers: [["a", bytes(FRAME_MAX)]] }, "TOO_LARGE"],
  ])("%s that does not fit is refused, and leaves nothing behind", (_, to, properties, code) => {
    for (const first of [false, true]) {
      const frames = new Frames(CHANNEL, FRAME_MAX);
      if (!first) frames.add(address, plain, bytes(5));
      let error: unknown;
      try {
        frames.add(to, properties, bytes(5));
      } catch (raw) {
        error = raw;
      }
      expect(classify(error)).toEqual({ code, retryable: false });
      frames.add(address, { ...plain, messageId: "2" }, bytes(6));
      frames.add(inbox, { ...plain, messageId: "3" }, bytes(7));
      const got = written(frames.take(), FRAME_MAX);
      expect(got.map(({ properties: { messageId } }) => messageId)).toEqual(first ? ["2", "3"] : ["1", "2", "3"]);
      expect(got.map(({ method }) => method["routingKey"])).toEqual([...(first ? [] : ["orders"]), "orders", "orders.billing"]);
    }
  });
});
