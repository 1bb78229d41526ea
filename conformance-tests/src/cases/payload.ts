import { defineTopic, type Replay } from "brokerkit";
import { check, defined, eachOnce, equal, outcome, refuses, rejects } from "../assert.ts";
import { type Case, hasHeaders, hasKeys, keepsDeadLetters, listsDeadLetters, replays } from "../case.ts";
import type { Context } from "../context.ts";
import { rawPublish, rawRecord } from "../raw.ts";
import { Sink } from "../sink.ts";
import { anything, open, schema, stage } from "../stage.ts";
import { until } from "../wait.ts";

/** Every byte value, several times over, and nothing that any text encoding would let through. */
const binary = Uint8Array.from({ length: 1_024 }, (_, n) => (n * 7) % 256);
const bytesOf = (value: unknown): Uint8Array => (value instanceof Uint8Array ? new Uint8Array(value) : Buffer.from(String(value)));

async function bytesArrive(t: Context, bodies: readonly Uint8Array[]): Promise<void> {
  const { topic, sink } = await stage(t, { define: { codec: "bytes" } });
  const hashes = bodies.map((body) => Buffer.from(body).toString("base64"));
  for (const body of bodies) await topic.publish(body);
  await sink.reaches(bodies.length);
  const seen = sink.facts.map((fact) => Buffer.from(bytesOf(fact.payload)).toString("base64"));
  eachOnce(seen, hashes, "bodies, byte by byte");
}

const hostileTopics = [
  "",
  " ",
  "a b",
  "a/../b",
  "..",
  "a..b",
  "a\nb",
  "a\0b",
  "*",
  "a.*",
  ">",
  "a.>",
  "#",
  "x.retry",
  "x.dead",
  "ünïcode",
  "a:b",
  "{a}",
  "a/b",
  "__proto__",
  "-a",
  "a.",
  "a".repeat(300),
];

export const payload: readonly Case[] = [
  {
    id: "payload/empty",
    states: "A body of 0 bytes arrives as 0 bytes, and is no tombstone.",
    async run(t) {
      const { topic, sink } = await stage(t, { define: { codec: "bytes" } });
      await topic.publish(new Uint8Array(0));
      await sink.reaches(1);
      const { delivery } = defined(sink.facts[0], "delivery");
      equal([bytesOf(delivery.payload).length, delivery.tombstone], [0, false], "length and tombstone");
    },
  },
  {
    id: "payload/one-byte",
    states: "Each of the 256 one-byte bodies arrives as it was.",
    run: (t) =>
      bytesArrive(
        t,
        Array.from({ length: 256 }, (_, n) => Uint8Array.of(n)),
      ),
  },
  { id: "payload/binary", states: "A body of all byte values arrives byte by byte.", run: (t) => bytesArrive(t, [binary]) },
  {
    id: "payload/not-utf8",
    states: "Bytes that are no UTF-8 are not repaired on the way.",
    run: (t) =>
      bytesArrive(t, [
        Uint8Array.of(0xff, 0xfe, 0x00, 0xc3, 0x28),
        Uint8Array.of(0xed, 0xa0, 0x80),
        Uint8Array.of(0x0d, 0x0a, 0x24, 0x2d, 0x31),
      ]),
  },
  {
    id: "payload/maximum-size",
    states: "The largest message that the record allows (of 4 MiB at most, here) arrives whole.",
    weight: "heavy",
    async run(t) {
      const size = Math.min(t.capabilities.message.maxBytes, 4 * 2 ** 20) - 2_048;
      const body = new Uint8Array(size);
      for (let n = 0; n < size; n += 1) body[n] = (n * 31 + (n >> 8)) & 255;
      const { topic, sink } = await stage(t, { define: { codec: "bytes" } });
      await topic.publish(body, { timeoutMs: 20_000 });
      await sink.reaches(1, 20_000);
      const got = bytesOf(sink.facts[0]?.payload);
      check(Buffer.compare(got, body) === 0, () => `a body of ${size} bytes came as ${got.length} bytes, or altered`);
    },
  },
  {
    id: "payload/json",
    states: "JSON values arrive as they were: unicode, escapes, nesting, null inside, numbers, order of keys.",
    async run(t) {
      const values = [
        "",
        'ünï😀\u2028\u0000"\\',
        0,
        -0.5,
        1e21,
        true,
        false,
        [],
        {},
        { b: null, a: [1, [2, [3]]], "": "", "💥": "\r\n" },
        ["\ud83d\ude00"],
      ];
      const { topic, sink } = await stage(t);
      for (const value of values) await topic.publish(value);
      await sink.reaches(values.length);
      eachOnce(
        sink.facts.map((fact) => JSON.stringify(fact.payload)),
        values.map((value) => JSON.stringify(value)),
        "JSON payloads",
      );
    },
  },
  {
    id: "payload/codec",
    states: "A codec of the application's own encodes and decodes, and names its content type.",
    async run(t) {
      const codec = {
        contentType: "text/x-reversed",
        encode: (value: unknown): Uint8Array => Buffer.from([...String(value)].reverse().join("")),
        decode: (bytes: Uint8Array): unknown => [...Buffer.from(bytes).toString()].reverse().join(""),
      };
      const { topic, sink, wire } = await stage(t, { define: { codec } });
      await topic.publish("abc");
      await sink.reaches(1);
      equal(sink.facts[0]?.payload, "abc", "payload");
      equal(Buffer.from(wire.of("publish")[0]?.records[0]?.body ?? []).toString(), "cba", "the bytes on the wire");
    },
  },
  {
    id: "payload/tombstone",
    states: "A null body is a delivery with `tombstone: true`, decoded and validated by nobody.",
    requires: (c) => c.message.tombstone,
    async run(t) {
      const strict = schema((value) => {
        if (typeof value !== "number") throw new Error("not a number");
        return value;
      });
      const { sink, name, broker } = await stage(t, { define: { schema: strict } });
      const { driver } = await t.driver();
      await rawPublish(driver, [rawRecord(name, null, { id: "gone" })]);
      await sink.reaches(1);
      await open(broker, name).publish(null);
      await sink.reaches(2);
      for (const { delivery } of sink.facts) equal([delivery.tombstone, delivery.payload], [true, null], "tombstone and payload");
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).publish(null), "UNSUPPORTED", "publish of null");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/headers",
    states: "Header names and values arrive as they were: unicode, empty, long, digits as names, names that objects have by nature.",
    requires: hasHeaders,
    async run(t) {
      const headers: Record<string, string> = {
        "x-empty": "",
        "X-Case": "kept?",
        7: "seven",
        constructor: "c",
        toString: "t",
        "x-unicode": "ünï😀 \u2028",
        "x-long": "v".repeat(2_000),
        "x-space": " a b\t",
      };
      const { topic, sink } = await stage(t);
      await topic.publish("x", { headers });
      await sink.reaches(1);
      const got = defined(sink.facts[0], "delivery").delivery.headers;
      for (const [name, value] of Object.entries(headers)) equal(Object.hasOwn(got, name) ? got[name] : undefined, value, `header ${name}`);
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).publish("x", { headers: { a: "b" } }), "UNSUPPORTED", "publish with a header");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/own-headers-hidden",
    states: "Our own metadata never shows among the application's headers, and nobody else's is invented.",
    requires: hasHeaders,
    async run(t) {
      const { topic, sink } = await stage(t);
      await topic.publish("x", { headers: { mine: "1" } });
      await sink.reaches(1);
      const names = Object.keys(defined(sink.facts[0], "delivery").delivery.headers).filter((name) => name !== "content-type");
      equal(names, ["mine"], "header names");
    },
  },
  {
    id: "payload/raw-headers",
    states: "A repeated header keeps every value in rawHeaders, as bytes and in order; `headers` shows the last as text.",
    requires: hasHeaders,
    async run(t) {
      const { sink, name } = await stage(t);
      const { driver } = await t.driver();
      await rawPublish(driver, [
        rawRecord(name, '"x"', {
          headers: [
            ["dup", Buffer.from("one")],
            ["bin", Uint8Array.of(0xff, 0x00)],
            ["dup", Buffer.from("two")],
          ],
        }),
      ]);
      await sink.reaches(1);
      const { delivery } = defined(sink.facts[0], "delivery");
      equal(delivery.headers["dup"], "two", "headers.dup");
      equal(
        delivery.rawHeaders.filter(([header]) => header === "dup").map(([, value]) => Buffer.from(value).toString()),
        ["one", "two"],
        "rawHeaders of dup",
      );
      equal(
        [
          ...defined(
            delivery.rawHeaders.find(([header]) => header === "bin"),
            "rawHeaders of bin",
          )[1],
        ],
        [0xff, 0x00],
        "a binary header",
      );
    },
  },
  {
    id: "payload/too-many-headers",
    states: "More headers than the record allows are refused before the wire.",
    requires: hasHeaders,
    async run(t) {
      const { broker, wire } = await t.record({
        tap: { narrow: (c) => ({ ...c, message: { ...c.message, maxHeaders: Math.min(c.message.maxHeaders, 12) } }) },
      });
      const headers = Object.fromEntries(Array.from({ length: 13 }, (_, n) => [`h${n}`, "v"]));
      await rejects(
        broker.topic(t.topic()).publish("x", { headers }),
        ["INVALID_ARGUMENT", "TOO_LARGE"],
        "publish with 13 headers where 12 are allowed",
      );
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/reserved-headers",
    states: "Header names of brokerkit's own are refused, in any case of letters: nobody forges them.",
    requires: hasHeaders,
    async run(t) {
      const { broker, wire } = await t.record();
      for (const header of ["brokerkit-id", "BrokerKit-Key", "brokerkit-"]) {
        await refuses(
          () => broker.topic(t.topic()).publish("x", { headers: { [header]: "forged" } }),
          "INVALID_ARGUMENT",
          `publish with the header ${header}`,
        );
      }
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/header-injection",
    states: "Header names and values with CR, LF or NUL, and values that are no text, are refused before the wire.",
    requires: hasHeaders,
    async run(t) {
      const { broker, wire } = await t.record();
      const bad: Record<string, string>[] = [
        { a: "b\r\nInjected: 1" },
        { a: "b\n" },
        { a: "\0" },
        { "a\r\nb": "c" },
        { "a:b": "c" },
        { "": "c" },
        { a: 7 as unknown as string },
        { a: "\ud83d" },
      ];
      for (const headers of bad)
        await refuses(
          () => broker.topic(t.topic()).publish("x", { headers }),
          "INVALID_ARGUMENT",
          `publish with the headers ${JSON.stringify(headers)}`,
        );
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/header-metadata",
    states: "Headers named like metadata are the application's own: they change neither id, key nor attempt of the delivery.",
    requires: hasHeaders,
    async run(t) {
      const { topic, sink } = await stage(t);
      const receipt = await topic.publish("x", { id: "true-id", headers: { id: "false-id", key: "false-key", attempt: "9" } });
      await sink.reaches(1);
      const { delivery } = defined(sink.facts[0], "delivery");
      equal([delivery.id, delivery.key, delivery.attempt], [receipt.id, undefined, 1], "id, key, attempt");
      equal(
        [delivery.headers["id"], delivery.headers["key"], delivery.headers["attempt"]],
        ["false-id", "false-key", "9"],
        "the application's headers of those names",
      );
    },
  },
  {
    id: "payload/key",
    states: "A key arrives as text and as bytes; a message without one has neither.",
    requires: hasKeys,
    async run(t) {
      const { topic, sink } = await stage(t);
      const keys = ["k", "ünï😀", "", " ", "a\nb", undefined];
      for (const [n, key] of keys.entries()) await topic.publish(n, { key });
      await sink.reaches(keys.length);
      for (const fact of sink.facts) {
        const key = keys[Number(fact.payload)];
        const bytes = fact.delivery.keyBytes;
        equal([fact.key, bytes && Buffer.from(bytes).toString()], [key, key], `key and keyBytes of message ${fact.payload}`);
      }
    },
    async twin(t) {
      const { broker, wire } = await t.record();
      await refuses(() => broker.topic(t.topic()).publish("x", { key: "k" }), "UNSUPPORTED", "publish with a key");
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/key-bytes",
    states: "A key that is no UTF-8 keeps its bytes and shows no text.",
    requires: hasKeys,
    async run(t) {
      const { sink, name } = await stage(t);
      const { driver } = await t.driver();
      await rawPublish(driver, [rawRecord(name, '"x"', { key: Uint8Array.of(0xff, 0x00, 0x80) })]);
      await sink.reaches(1);
      const { delivery } = defined(sink.facts[0], "delivery");
      equal([delivery.key, [...defined(delivery.keyBytes, "keyBytes")]], [undefined, [0xff, 0x00, 0x80]], "key and keyBytes");
    },
  },
  {
    id: "payload/key-rule",
    states: "The topic's key rule computes the key; a key given with the publish wins.",
    requires: hasKeys,
    async run(t) {
      const { topic, sink } = await stage(t, { define: { key: (value) => `by-rule-${String(value)}` } });
      await topic.publish("a");
      await topic.publish("b", { key: "given" });
      await sink.sees(["a", "b"]);
      equal([sink.of("a")[0]?.key, sink.of("b")[0]?.key], ["by-rule-a", "given"], "keys");
    },
  },
  {
    id: "payload/hostile-topics",
    states: "Topic names that some backend could misread (wildcards, paths, our own suffixes) are refused before the wire.",
    async run(t) {
      const { broker, wire } = await t.record();
      const before = wire.calls.length;
      for (const name of hostileTopics) {
        await refuses(() => broker.topic(name).publish("x"), "INVALID_ARGUMENT", `publish to the topic ${JSON.stringify(name)}`);
        await refuses(() => defineTopic(name, { schema: anything }), "INVALID_ARGUMENT", `defineTopic(${JSON.stringify(name)})`);
      }
      equal(wire.calls.length, before, "driver calls");
    },
  },
  {
    id: "payload/topics-injective",
    states:
      "Names that differ are different topics: nothing published to one is delivered on another. A name that the backend itself can't tell from another one is refused.",
    async run(t) {
      const base = t.topic();
      const all = [base, `${base}.a`, `${base}_a`, `${base}-a`, `${base}.A`, `${base}.a.b`, `${base}.a-b`, `${base}.g`];
      const broker = await t.connect();
      const collides = (name: string, n: number): boolean => all.slice(0, n).some((other) => t.harness.collides?.(name, other) === true);
      const names = all.filter((name, n) => !collides(name, n));
      const sinks = names.map(() => new Sink());
      for (const [n, name] of names.entries()) await sinks[n]?.join(broker.topic(name), t.way());
      for (const name of names) await broker.topic(name).publish(name);
      for (const [n, name] of names.entries()) await sinks[n]?.sees([name]);
      for (const [n, name] of names.entries()) equal(sinks[n]?.payloads, [name], `what arrived on ${name}`);
      for (const name of all.filter(collides)) await rejects(broker.topic(name).publish(name), "INVALID_ARGUMENT", `publish to ${name}`);
    },
  },
  {
    id: "payload/foreign-in",
    states:
      "A plain message from a foreign producer is delivered with its body; its id is derived, not random: two readers see the same one.",
    needs: ["foreign"],
    async run(t) {
      const foreign = defined(t.harness.foreign, "harness.foreign");
      const { sink, name, broker } = await stage(t, { define: { codec: "bytes" } });
      await foreign.publish(t.site, name, Buffer.from("plain"));
      await sink.reaches(1);
      const fact = defined(sink.facts[0], "delivery");
      equal(Buffer.from(bytesOf(fact.payload)).toString(), "plain", "body");
      check(fact.id.length > 0, "a foreign message has an id");
      if (!replays(t.capabilities)) return;
      await using replay: Replay<unknown> = open(broker, name, { codec: "bytes" }).replay({ from: "earliest" });
      const ids: string[] = [];
      for await (const message of replay) ids.push(message.id);
      equal(ids, [fact.id], "the id that a second reader sees");
    },
  },
  {
    id: "payload/foreign-out",
    states: "A plain client reads what we publish: the body is the plain body, headers are native.",
    needs: ["foreign"],
    async run(t) {
      const foreign = defined(t.harness.foreign, "harness.foreign");
      const broker = await t.connect({ adapter: foreign.adapter?.(t.site) ?? t.adapter() });
      const name = t.topic();
      const plainHeaders = foreign.adapter === undefined && t.capabilities.message.headers;
      await outcome(broker.provision([defineTopic(name, { schema: anything })]));
      const reader = await foreign.read(t.site, name);
      t.defer(() => reader.close());
      await broker.topic(name).publish({ a: 1 }, plainHeaders ? { headers: { mine: "1" } } : {});
      await until(() => reader.records.length > 0, "the plain client to read a record");
      const record = defined(reader.records[0], "record");
      equal(JSON.parse(Buffer.from(record.body).toString()) as unknown, { a: 1 }, "the body as JSON");
      if (plainHeaders) equal(record.headers["mine"], "1", "the native header");
    },
  },
  {
    id: "payload/hostile-json",
    states:
      "Bodies made to hurt (`__proto__`, thousands of levels, cut off, huge numbers of brackets) reach no handler and pollute nothing; where groups keep dead letters they are there.",
    async run(t) {
      const bodies = [
        '{"__proto__":{"polluted":1}}',
        '{"a":{"constructor":{"prototype":{"polluted":1}}}}',
        `${"[".repeat(50_000)}${"]".repeat(50_000)}`,
        '{"a":',
        "\u0000",
        "",
      ];
      const { sink, name, topic } = await stage(t);
      const { driver } = await t.driver();
      await rawPublish(
        driver,
        bodies.map((body, n) => rawRecord(name, body, { id: `bad-${n}` })),
      );
      await topic.publish("good");
      await sink.sees(["good"]);
      equal(sink.payloads, ["good"], "payloads that reached the handler");
      equal(({} as { polluted?: unknown }).polluted, undefined, "Object.prototype.polluted");
      if (!listsDeadLetters(t.capabilities)) return;
      const dead = topic.group("g").deadLetters;
      await until(async () => (await dead.count()) === bodies.length, "each bad body to be a dead letter");
      for await (const letter of dead.list())
        equal(Buffer.from(letter.bytes).toString(), bodies[Number(letter.id.slice(4))], `bytes of ${letter.id}`);
    },
  },
  {
    id: "payload/hostile-publish",
    states:
      "A payload that no receiver would accept is refused at the publish: hostile keys, cycles, functions, bytes with the JSON codec.",
    async run(t) {
      const { broker, wire } = await t.record();
      const cycle: Record<string, unknown> = {};
      cycle["self"] = cycle;
      const bad: unknown[] = [JSON.parse('{"__proto__":1}'), cycle, () => 1, undefined, 1n, Uint8Array.of(1)];
      for (const [n, value] of bad.entries())
        await refuses(() => broker.topic(t.topic()).publish(value), "INVALID_ARGUMENT", `publish of hostile payload ${n}`);
      equal(wire.of("publish").length, 0, "driver.publish calls");
    },
  },
  {
    id: "payload/invalid-on-delivery",
    states:
      "A stored body that violates the schema reaches no handler: it is a dead letter with the reason and its raw bytes, and what follows is delivered.",
    requires: keepsDeadLetters,
    async run(t) {
      const strict = schema((value) => {
        if (typeof value !== "number") throw new Error("not a number");
        return value;
      });
      const { sink, name, topic } = await stage(t, { define: { schema: strict } });
      const { driver } = await t.driver();
      await rawPublish(driver, [rawRecord(name, '"seven"', { id: "bad" })]);
      await topic.publish(7);
      await sink.sees([7]);
      equal(
        sink.facts.map((fact) => fact.payload),
        [7],
        "payloads that reached the handler",
      );
      if (!listsDeadLetters(t.capabilities)) return;
      const dead = topic.group("g").deadLetters;
      await until(async () => (await dead.count()) === 1, "the dead letter");
      for await (const letter of dead.list())
        equal([letter.id, Buffer.from(letter.bytes).toString()], ["bad", '"seven"'], "the dead letter");
    },
  },
];
