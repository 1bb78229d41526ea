import { createRequire } from "node:module";
import { compressionsAlgorithms, crc32c, murmur2, Reader, readRecordsBatches } from "@platformatic/kafka";
import { Partitioners } from "kafkajs";
import { expect, test } from "vitest";
import {
  addRecord,
  BATCH_HEAD,
  type BatchDraft,
  type Compressor,
  encodeBatch,
  fits,
  hashKey,
  recordSize,
} from "../src/protocol/records.ts";
import { record } from "./log.ts";

const NOW = 1_800_000_000_000;
const ORIGIN = { producerId: 4_000_000_000_001n, epoch: 7, sequence: 123_456 };
const RECORDS = [
  record("t", "plain", { publishedAt: NOW }),
  record("t", "ключ-é", {
    publishedAt: NOW - 59_000,
    key: Buffer.from("k"),
    headers: [
      ["x", Buffer.from([0, 255])],
      ["x", Buffer.alloc(0)],
    ],
  }),
  record("t", "tombstone", { publishedAt: NOW + 40_000, key: Buffer.alloc(0), body: null }),
  record("t", "inbox", { publishedAt: NOW - 3_600_000, failures: 3, delayMs: 1_500, body: Buffer.alloc(300_000, 1) }),
];

function draft(records = RECORDS): BatchDraft {
  const batch = { records: [], sizes: [], bytes: BATCH_HEAD };
  for (const one of records) addRecord(batch, one, recordSize(one, NOW));
  return batch;
}

const encoded = (compressor?: Compressor): Promise<Buffer> => encodeBatch(draft(), NOW, ORIGIN, crc32c, compressor);

test("the client library reads what was encoded", async () => {
  const bytes = await encoded();
  const [batch, ...more] = readRecordsBatches(Reader.from(bytes));
  expect(more).toEqual([]);
  expect(batch).toMatchObject({ magic: 2, attributes: 0, lastOffsetDelta: 3, producerId: ORIGIN.producerId, producerEpoch: 7 });
  expect(batch).toMatchObject({ firstSequence: 123_456, firstTimestamp: BigInt(NOW), maxTimestamp: BigInt(NOW + 40_000) });
  expect(batch?.crc).toBe(crc32c(bytes.subarray(21)));
  const read = batch?.records.map(({ key, value, headers, timestampDelta, offsetDelta }) => ({
    key: key?.toString(),
    size: value?.length,
    headers: headers.map(([name, bytes]) => [String(name), bytes?.toString("latin1")]),
    timestampDelta,
    offsetDelta,
  }));
  const id = (text: string): [string, string] => ["brokerkit-id", Buffer.from(text).toString("latin1")];
  expect(read).toEqual([
    { key: undefined, size: 13, headers: [id("plain")], timestampDelta: 0n, offsetDelta: 0 },
    { key: "k", size: 19, headers: [id("ключ-é"), ["x", "\x00\xff"], ["x", ""]], timestampDelta: -59_000n, offsetDelta: 1 },
    { key: "", size: undefined, headers: [id("tombstone")], timestampDelta: 40_000n, offsetDelta: 2 },
    {
      key: undefined,
      size: 300_000,
      // An old message bears the present, and its own time in a header.
      headers: [
        id("inbox"),
        ["brokerkit-failures", "3"],
        ["brokerkit-due", String(NOW + 1_500)],
        ["brokerkit-published", String(NOW - 3_600_000)],
      ],
      timestampDelta: 0n,
      offsetDelta: 3,
    },
  ]);
});

test("kafkajs reads the same", async () => {
  const require = createRequire(import.meta.url);
  const Decoder = require("kafkajs/src/protocol/decoder");
  const decode = require("kafkajs/src/protocol/recordBatch/v0/decoder");
  const bytes = await encoded();
  const batch = await decode(new Decoder(bytes));
  const [ours] = readRecordsBatches(Reader.from(bytes));
  expect(batch).toMatchObject({ producerId: String(ORIGIN.producerId), producerEpoch: 7, firstSequence: 123_456, lastOffsetDelta: 3 });
  const theirs = batch.records as { key: Buffer | null; value: Buffer | null; offset: string; timestamp: string; headers: object }[];
  expect(theirs.map(({ key, value, offset, timestamp }) => ({ key, value, offset, timestamp }))).toEqual(
    ours?.records.map(({ key, value, offsetDelta, timestampDelta }) => ({
      key,
      value,
      offset: String(offsetDelta),
      timestamp: String(BigInt(NOW) + timestampDelta),
    })),
  );
  expect(theirs[1]?.headers).toEqual({ "brokerkit-id": Buffer.from("ключ-é"), x: [Buffer.from([0, 255]), Buffer.alloc(0)] });
});

test.each(["gzip", "snappy", "lz4", "zstd"] as const)("%s holds the same records in fewer bytes", async (name) => {
  const [plain, packed] = [await encoded(), await encoded(compressionsAlgorithms[name] as Compressor)];
  expect(packed.length).toBeLessThan(plain.length / 10);
  const [batch] = readRecordsBatches(Reader.from(packed));
  expect(batch?.records).toEqual(readRecordsBatches(Reader.from(plain))[0]?.records);
  expect(batch?.crc).toBe(crc32c(packed.subarray(21)));
});

test("a batch is never longer than it was counted, and hardly shorter", async () => {
  const many = Array.from({ length: 3_000 }, (_, n) =>
    record("t", `id-${n}`, { publishedAt: NOW - (n % 50_000), key: Buffer.from(`key-${n}`) }),
  );
  const batch = draft(many);
  const { length } = await encodeBatch(batch, NOW, ORIGIN, crc32c, undefined);
  expect(length).toBeLessThanOrEqual(batch.bytes);
  expect(batch.bytes - length).toBeLessThan(12 * many.length);
  expect(fits(batch, 100, batch.bytes + 100)).toBe(false);
  expect(fits(batch, 100, batch.bytes + 200)).toBe(true);
  // What is too large for any batch has one of its own.
  expect(fits({ records: [], sizes: [], bytes: BATCH_HEAD }, 1_000_000, 10)).toBe(true);
});

test("keys are placed as by Kafka's Java clients and by kafkajs", () => {
  const partitions = Array.from({ length: 12 }, (_, partitionId) => ({
    partitionId,
    leader: 1,
    partitionErrorCode: 0,
    replicas: [],
    isr: [],
  }));
  const place = Partitioners.DefaultPartitioner();
  for (let n = 0; n < 2_000; n++) {
    const key = Buffer.from(Array.from({ length: n % 37 }, (_, each) => (n * 31 + each * 17) & 0xff));
    expect(hashKey(key)).toBe(murmur2(key) & 0x7fffffff);
    expect(hashKey(key) % 12).toBe(place({ topic: "t", partitionMetadata: partitions, message: { key, value: null } }));
  }
});
