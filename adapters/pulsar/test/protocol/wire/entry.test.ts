import { deflateSync } from "node:zlib";
import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import type { Compression } from "../../../src/protocol/wire/compression.ts";
import { compressionAvailable } from "../../../src/protocol/wire/compression.ts";
import { decodeMessages, decodeMetadata } from "../../../src/protocol/wire/entry.ts";
import { EntryError } from "../../../src/protocol/wire/errors.ts";
import { CompressionType, MessageMetadataSchema, SingleMessageMetadataSchema } from "../../../src/protocol/wire/pulsar.generated.ts";
import { sendFrame } from "../../../src/protocol/wire/send.ts";
import { entryOf, OPTIONS, randomMessages } from "./messages.ts";
import { Random } from "./random.ts";

const MAX = 5_242_880;
const REQUIRED = { producerName: "p", sequenceId: 1n, publishTime: 2n };

function opened(sent: Buffer, maxSize = MAX) {
  const entry = entryOf(sent);
  const payloadAt = 10 + entry.readUInt32BE(6);
  const metadata = decodeMetadata(entry.subarray(10, payloadAt));
  return { metadata, messages: decodeMessages(metadata, entry.subarray(payloadAt), maxSize) };
}

const metadataOf = (fields: object) =>
  decodeMetadata(Buffer.from(toBinary(MessageMetadataSchema, create(MessageMetadataSchema, { ...REQUIRED, ...fields }))));
const faultOf = (fault: string) => expect.objectContaining({ name: "EntryError", fault });

function single(fields: object, payload: Buffer): Buffer {
  const metadata = toBinary(SingleMessageMetadataSchema, create(SingleMessageMetadataSchema, { payloadSize: payload.length, ...fields }));
  const size = Buffer.alloc(4);
  size.writeUInt32BE(metadata.length);
  return Buffer.concat([size, metadata, payload]);
}

describe("decodeMetadata, decodeMessages", () => {
  const codecs = (["none", "zlib", "zstd"] as const satisfies Compression[]).filter(compressionAvailable);

  it.each(codecs)("what was sent comes back, key and payload byte for byte (%s)", (compression) => {
    for (let seed = 1; seed <= 100; seed++) {
      const random = new Random(seed);
      const sent = randomMessages(random);
      const orderingKey = random.chance(2) ? random.bytes(20) : undefined;
      const { metadata, messages } = opened(sendFrame(sent, { ...OPTIONS, compression, orderingKey }));
      const { producerName, sequenceId, publishTime } = OPTIONS;
      const numMessages = sent.length === 1 ? undefined : sent.length;
      expect(metadata, `seed ${seed}`).toMatchObject({
        producerName,
        sequenceId,
        publishTime,
        numMessages,
        encrypted: false,
        markerType: 0,
      });
      expect(metadata.orderingKey).toEqual(orderingKey);
      expect(
        messages.map(({ key, properties, payload, eventTime, nullValue, sequenceId }) => ({
          key,
          properties,
          payload,
          eventTime,
          nullValue,
          sequenceId,
        })),
        `seed ${seed}`,
      ).toEqual(
        sent.map(({ key, properties, payload, eventTime, nullValue = false }, n) => ({
          key: key && Buffer.from(key),
          properties: properties.map((property) => [...property]),
          payload,
          eventTime,
          nullValue,
          sequenceId: OPTIONS.sequenceId + n,
        })),
      );
    }
  });

  it("reads every field that a message or an entry may have", () => {
    const metadata = metadataOf({
      numMessagesInBatch: 3,
      schemaVersion: Buffer.from("v1"),
      deliverAtTime: 1_790_000_000_000n,
      replicatedFrom: "elsewhere",
      txnidLeastBits: 2n ** 64n - 1n,
      markerType: 12,
    });
    expect(metadata).toMatchObject({ schemaVersion: Buffer.from("v1"), deliverAt: 1_790_000_000_000, markerType: 12, chunk: undefined });
    const batch = Buffer.concat([
      single({ compactedOut: true, sequenceId: 9n, orderingKey: Buffer.from("lane") }, Buffer.alloc(0)),
      single({ partitionKey: "/w==", partitionKeyB64Encoded: true, eventTime: 5n }, Buffer.from("body")),
      single({ partitionKey: "void", nullPartitionKey: true, nullValue: true }, Buffer.alloc(0)),
    ]);
    const nothing = { key: undefined, orderingKey: undefined, properties: [], eventTime: undefined, nullValue: false, compactedOut: false };
    expect(decodeMessages(metadata, batch, MAX)).toEqual([
      { ...nothing, compactedOut: true, sequenceId: 9, orderingKey: Buffer.from("lane"), payload: Buffer.alloc(0) },
      { ...nothing, key: Buffer.of(255), eventTime: 5, sequenceId: 2, payload: Buffer.from("body") },
      { ...nothing, nullValue: true, sequenceId: 3, payload: Buffer.alloc(0) },
    ]);
  });

  it("a batch of one is a batch; parts of a message say which they are", () => {
    expect(decodeMessages(metadataOf({ numMessagesInBatch: 1 }), single({}, Buffer.from("x")), MAX)).toHaveLength(1);
    const part = metadataOf({ uuid: "u", chunkId: 1, numChunksFromMsg: 3, totalChunkMsgSize: 30 });
    expect(part.chunk).toEqual({ uuid: "u", index: 1, count: 3, size: 30 });
  });

  it("refuses what is encrypted", () => {
    const metadata = metadataOf({ encryptionKeys: [{ key: "k", value: Buffer.from("v") }] });
    expect(() => decodeMessages(metadata, Buffer.from("?"), MAX)).toThrow(faultOf("ENCRYPTED"));
  });

  it("refuses a batch that is not what it says", () => {
    const two = Buffer.concat([single({}, Buffer.from("a")), single({}, Buffer.from("b"))]);
    expect(() => decodeMessages(metadataOf({ numMessagesInBatch: 3 }), two, MAX)).toThrow(faultOf("CORRUPT"));
    expect(() => decodeMessages(metadataOf({ numMessagesInBatch: 2_000_000_000 }), two, MAX)).toThrow(faultOf("CORRUPT"));
    expect(() => decodeMessages(metadataOf({ numMessagesInBatch: 1 }), single({ payloadSize: 2 }, Buffer.from("a")), MAX)).toThrow(
      faultOf("CORRUPT"),
    );
    expect(() => decodeMessages(metadataOf({ numMessagesInBatch: 1 }), single({ payloadSize: -1 }, Buffer.from("a")), MAX)).toThrow(
      faultOf("CORRUPT"),
    );
    expect(() => decodeMetadata(Buffer.of(0x0a, 200, 1))).toThrow(faultOf("CORRUPT"));
    expect(() => decodeMetadata(Buffer.of(0x08, 1))).toThrow(faultOf("CORRUPT"));
  });
});

describe("compression", () => {
  const packed = (plain: Buffer, size: number, compression: number = CompressionType.ZLIB) =>
    [metadataOf({ compression, uncompressedSize: size }), deflateSync(plain)] as const;

  it("is bounded before it is unpacked, by what the entry says and by what comes out", () => {
    const bomb = Buffer.alloc(MAX + 1);
    expect(() => decodeMessages(...packed(bomb, bomb.length), MAX)).toThrow(faultOf("OVERSIZE"));
    expect(() => decodeMessages(...packed(bomb, 100), MAX)).toThrow(faultOf("CORRUPT"));
    expect(() => decodeMessages(...packed(Buffer.alloc(99), 100), MAX)).toThrow(faultOf("CORRUPT"));
    expect(() =>
      decodeMessages(metadataOf({ compression: CompressionType.ZLIB, uncompressedSize: 9 }), Buffer.from("not zlib"), MAX),
    ).toThrow(faultOf("CORRUPT"));
    expect(decodeMessages(...packed(Buffer.alloc(0), 0), MAX)[0]?.payload).toEqual(Buffer.alloc(0));
  });

  it.each(["lz4", "snappy"] as const)("%s is refused by name, to write and to read", (compression) => {
    const number = { lz4: CompressionType.LZ4, snappy: CompressionType.SNAPPY }[compression];
    expect(compressionAvailable(compression)).toBe(false);
    expect(() => sendFrame([{ payload: Buffer.alloc(1), properties: [] }], { ...OPTIONS, compression })).toThrow(faultOf("COMPRESSION"));
    expect(() => decodeMessages(...packed(Buffer.alloc(1), 1, number), MAX)).toThrow(
      new EntryError("COMPRESSION", `Compression ${compression} is not supported; zlib and zstd are.`),
    );
  });

  it("a codec of the future is refused by its number", () => {
    const metadata = { ...metadataOf({}), compression: 9 };
    expect(() => decodeMessages(metadata, Buffer.alloc(1), MAX)).toThrow(/Compression 9 is not supported/);
  });
});
