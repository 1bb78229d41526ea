import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { commandFrame } from "../../../src/protocol/wire/command.ts";
import { encodeKey } from "../../../src/protocol/wire/key.ts";
import { MessageMetadataSchema, SingleMessageMetadataSchema } from "../../../src/protocol/wire/pulsar.generated.ts";
import { type EntryOptions, messageSize, sendFrame } from "../../../src/protocol/wire/send.ts";
import type { OutgoingMessage } from "../../../src/transport.ts";
import { checkedEntry, OPTIONS, randomMessages, withEntry } from "./messages.ts";
import { Random } from "./random.ts";

const pairs = (message: OutgoingMessage) => message.properties.map(([key, value]) => ({ key, value }));

function keyFields(key: Uint8Array | undefined): { partitionKey?: string; partitionKeyB64Encoded?: boolean } {
  if (key === undefined) return {};
  const { bytes, base64 } = encodeKey(key);
  return { partitionKey: Buffer.from(bytes).toString(), ...(base64 && { partitionKeyB64Encoded: true }) };
}

function fixed32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** The same entry by the generated code. */
function byTheLibrary(messages: readonly OutgoingMessage[], options: EntryOptions): Buffer {
  const [first] = messages as [OutgoingMessage];
  const alone = messages.length === 1;
  const last = BigInt(options.sequenceId + messages.length - 1);
  const singles = messages.map((message, n) => {
    const metadata = toBinary(
      SingleMessageMetadataSchema,
      create(SingleMessageMetadataSchema, {
        properties: pairs(message),
        ...keyFields(message.key),
        payloadSize: message.payload.length,
        ...(message.eventTime !== undefined && { eventTime: BigInt(message.eventTime) }),
        sequenceId: BigInt(options.sequenceId + n),
        ...(message.nullValue === true && { nullValue: true }),
      }),
    );
    return Buffer.concat([fixed32(metadata.length), metadata, message.payload]);
  });
  const payload = alone ? first.payload : Buffer.concat(singles);
  const metadata = create(MessageMetadataSchema, {
    producerName: options.producerName,
    sequenceId: BigInt(options.sequenceId),
    publishTime: BigInt(options.publishTime),
    uncompressedSize: payload.length,
    ...keyFields(options.partitionKey ?? (alone ? first.key : undefined)),
    ...(options.schemaVersion && { schemaVersion: options.schemaVersion }),
    ...(options.orderingKey && { orderingKey: options.orderingKey }),
    ...(first.deliverAt !== undefined && { deliverAtTime: BigInt(first.deliverAt) }),
    ...(alone
      ? {
          properties: pairs(first),
          ...(first.eventTime !== undefined && { eventTime: BigInt(first.eventTime) }),
          ...(first.nullValue === true && { nullValue: true }),
        }
      : { numMessagesInBatch: messages.length, highestSequenceId: last }),
  });
  const send = commandFrame({
    case: "send",
    value: {
      producerId: options.producerId,
      sequenceId: BigInt(options.sequenceId),
      ...(!alone && { numMessages: messages.length, highestSequenceId: last }),
    },
  });
  return withEntry(send, checkedEntry(toBinary(MessageMetadataSchema, metadata), payload));
}

function randomOptions(random: Random): EntryOptions {
  return {
    ...OPTIONS,
    producerId: random.below(2 ** 32),
    producerName: random.text(80),
    sequenceId: Math.floor(random.number() / 2),
    publishTime: random.number(),
    ...(random.chance(2) && { orderingKey: random.bytes(200) }),
    ...(random.chance(3) && { partitionKey: random.bytes(30) }),
    ...(random.chance(4) && { schemaVersion: random.bytes(16) }),
  };
}

describe("sendFrame", () => {
  it("writes what the generated code writes, byte for byte", () => {
    for (let seed = 1; seed <= 400; seed++) {
      const random = new Random(seed);
      const messages = randomMessages(random);
      if (messages.length === 1 && random.chance(3)) messages[0] = { ...(messages[0] as OutgoingMessage), deliverAt: random.number() };
      const options = randomOptions(random);
      expect(sendFrame(messages, options).equals(byTheLibrary(messages, options)), `seed ${seed}`).toBe(true);
    }
  });

  it("messageSize is enough, and not much more", () => {
    for (let seed = 1; seed <= 200; seed++) {
      const [message] = randomMessages(new Random(seed)) as [OutgoingMessage];
      const [two, three] = [2, 3].map(
        (count) =>
          sendFrame(
            Array.from({ length: count }, () => message),
            OPTIONS,
          ).length,
      ) as [number, number];
      expect(messageSize(message), `seed ${seed}`).toBeGreaterThanOrEqual(three - two);
      expect(messageSize(message), `seed ${seed}`).toBeLessThan(
        three - two + 60 + 16 * message.properties.length + (message.key?.length ?? 0),
      );
    }
  });

  it("takes no more than the broker does, counted behind the command", () => {
    const message: OutgoingMessage = { payload: Buffer.alloc(1_000), properties: [] };
    const frame = sendFrame([message], OPTIONS);
    const size = frame.length - 8 - frame.readUInt32BE(4);
    expect(sendFrame([message], { ...OPTIONS, maxMessageSize: size })).toEqual(frame);
    expect(() => sendFrame([message], { ...OPTIONS, maxMessageSize: size - 1 })).toThrow(expect.objectContaining({ fault: "OVERSIZE" }));
    expect(sendFrame([message], { ...OPTIONS, maxMessageSize: 200, compression: "zlib" }).length).toBeLessThan(200);
  });

  it("refuses numbers that the protocol has no room for", () => {
    for (const eventTime of [-1, Number.NaN, 2 ** 53]) {
      expect(() => sendFrame([{ payload: Buffer.alloc(0), properties: [], eventTime }], OPTIONS)).toThrow(RangeError);
    }
  });

  it("says the sizes before and after compression", () => {
    const message: OutgoingMessage = { payload: Buffer.alloc(1_000), properties: [] };
    const frame = sendFrame([message], { ...OPTIONS, compression: "zlib" });
    const at = 8 + frame.readUInt32BE(4);
    const metadata = fromBinary(MessageMetadataSchema, frame.subarray(at + 10, at + 10 + frame.readUInt32BE(at + 6)));
    expect(metadata).toMatchObject({ uncompressedSize: 1_000, compression: 2 });
  });
});
