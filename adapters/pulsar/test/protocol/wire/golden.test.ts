import { expect, it } from "vitest";
import { decodeMessages, decodeMetadata } from "../../../src/protocol/wire/entry.ts";
import { FrameParser } from "../../../src/protocol/wire/frame.ts";
import { sendFrame } from "../../../src/protocol/wire/send.ts";
import { entryOf, OPTIONS } from "./messages.ts";

// What a broker 4.0.6 sent to a subscriber, of messages that the Java client 4.0.6 produced.
const ANSWERS = [
  "0000002b0000002708031a230a1250756c73617220536572766572342e302e361015188080c0022206200128013001",
  "0000002b000000270818c201220a1870756c7361723a2f2f3132372e302e302e313a31363635301801200128014001",
  "0000000a00000006080d6a020803",
  "00000009000000050812920100",
];
const KEYED =
  "000000590000001708094a130803120f082f100018ffffffffffffffffff010e017d8cd95e0000002f0a107374616e64616c6f6e652d31392d3239100018b4e8b885a03422060a016112016232056b65792d31480588010068656c6c6f";
const ACCENTS =
  "000000550000001708094a130803120f082f100218ffffffffffffffffff010e01a9619d670000002c0a107374616e64616c6f6e652d31392d3331100018e5cebb85a034320ac3856e67737472c3b66d4804880100736f6c6f";
/** By its load tool, ten bytes each, ZLIB: alone, and six in a batch. */
const ZLIB_ALONE =
  "000000580000001808094a1408031210089407100018ffffffffffffffffff010e01394f5606000000200a117374616e64616c6f6e652d31392d313938100018e9fecc85a0344002480a789c0a0e8e08f3f3f208700904000000ffff";
const ZLIB_BATCH =
  "000000770000001808094a1408031210089407100118ffffffffffffffffff010e01f1eacd62000000250a117374616e64616c6f6e652d31392d313938100118f8ffcc85a0344002486c5806c00106789c6260606091e072600c0e8e08f3f3f2087009648088306188306388b06088b06288b0214400000000ffff";

function read(...frames: string[]) {
  const commands: { readonly case: string; readonly value: object }[] = [];
  const entries: object[] = [];
  const parser = new FrameParser({
    command: (command) => void commands.push(command),
    receipt: () => {},
    message: ({ metadata, payload, ...place }) => {
      const read = decodeMetadata(metadata);
      entries.push({ place, metadata: read, messages: decodeMessages(read, payload, 1_000) });
    },
  });
  parser.push(Buffer.from(frames.join(""), "hex"));
  return { commands, entries };
}

it("reads what a broker answers", () => {
  expect(read(...ANSWERS).commands).toMatchObject([
    { case: "connected", value: { serverVersion: "Pulsar Server4.0.6", protocolVersion: 21, maxMessageSize: 5_242_880 } },
    {
      case: "lookupTopicResponse",
      value: { requestId: 1, brokerServiceUrl: "pulsar://127.0.0.1:16650", response: 1, authoritative: true },
    },
    { case: "success", value: { requestId: 3 } },
    { case: "ping" },
  ]);
});

it("reads what the Java client produced", () => {
  const place = { consumerId: 3, ledger: 47, partition: -1, batchIndex: -1, redeliveries: 0, ackSet: undefined };
  expect(read(KEYED, ACCENTS).entries).toMatchObject([
    {
      place: { ...place, entry: 0 },
      metadata: {
        producerName: "standalone-19-29",
        sequenceId: 0,
        publishTime: 1_795_307_746_356,
        numMessages: undefined,
        uncompressedSize: 5,
      },
      messages: [{ key: Buffer.from("key-1"), properties: [["a", "b"]], payload: Buffer.from("hello"), nullValue: false }],
    },
    { place: { ...place, entry: 2 }, messages: [{ key: Buffer.from("Ångström"), properties: [], payload: Buffer.from("solo") }] },
  ]);
});

it("reads what the Java client compressed: its streams have no end", () => {
  const entries = read(ZLIB_ALONE, ZLIB_BATCH).entries as {
    readonly messages: { readonly payload: Buffer; readonly sequenceId: number }[];
  }[];
  const sizes = entries.map(({ messages }) => messages.map(({ sequenceId, payload }) => [sequenceId, payload.length]));
  expect(sizes).toEqual([[[0, 10]], [1, 2, 3, 4, 5, 6].map((id) => [id, 10])]);
});

it("writes the entry that the Java client wrote, but for a flag that says what is so without it", () => {
  const [theirs] = [Buffer.from(KEYED, "hex")];
  const message = { payload: Buffer.from("hello"), key: Buffer.from("key-1"), properties: [["a", "b"]] as const };
  const ours = entryOf(
    sendFrame([message], { ...OPTIONS, producerName: "standalone-19-29", sequenceId: 0, publishTime: 1_795_307_746_356 }),
  );
  const behind = (entry: Buffer) => entry.subarray(10, 10 + entry.readUInt32BE(6)).toString("hex");
  expect(behind(entryOf(theirs))).toBe(`${behind(ours)}880100`);
});
