import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { type Command, commandFrame, PING, PONG } from "../../../src/protocol/wire/command.ts";
import { ChecksumError, WireError } from "../../../src/protocol/wire/errors.ts";
import { FRAME_PADDING, FrameParser, type MessageFrame, type SendReceipt } from "../../../src/protocol/wire/frame.ts";
import { BaseCommandSchema, BrokerEntryMetadataSchema } from "../../../src/protocol/wire/pulsar.generated.ts";
import { sendFrame } from "../../../src/protocol/wire/send.ts";
import { delivered, entryOf, OPTIONS, withEntry } from "./messages.ts";
import { Random } from "./random.ts";

type Seen = string | SendReceipt | MessageFrame;

function collector(): { readonly seen: Seen[]; readonly parser: FrameParser } {
  const seen: Seen[] = [];
  const parser = new FrameParser({
    command: (command: Command) => void seen.push(command.case),
    receipt: (receipt) => void seen.push(receipt),
    message: (message) => void seen.push(message),
  });
  return { seen, parser };
}

const ENTRY = entryOf(sendFrame([{ payload: Buffer.from("body"), properties: [] }], OPTIONS));
const MESSAGE = delivered(ENTRY);
const RECEIPT = commandFrame({
  case: "sendReceipt",
  value: {
    producerId: 3,
    sequenceId: 2n ** 40n,
    messageId: { ledgerId: 9_000_000_000n, entryId: 0n, partition: -1 },
    highestSequenceId: 2n ** 40n + 6n,
  },
});

function size(bytes: number, command = 0): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(bytes, 0);
  head.writeUInt32BE(command, 4);
  return head;
}

describe("FrameParser", () => {
  it("gives the same frames however the bytes are cut", () => {
    const all = Buffer.concat([PING, RECEIPT, MESSAGE, MESSAGE, PONG]);
    const whole = collector();
    whole.parser.push(all);
    expect(whole.seen.map((one) => (typeof one === "string" ? one : "ledger" in one && "payload" in one ? "message" : "receipt"))).toEqual([
      "ping",
      "receipt",
      "message",
      "message",
      "pong",
    ]);
    for (let seed = 0; seed < 200; seed++) {
      const random = new Random(seed);
      const { seen, parser } = collector();
      for (let at = 0; at < all.length; ) {
        const end = at + (seed === 0 ? 1 : 1 + random.below(random.pick([2, 8, 60])));
        parser.push(Buffer.from(all.subarray(at, end)));
        at = end;
      }
      expect(seen, `seed ${seed}`).toEqual(whole.seen);
    }
  });

  it("reads receipts and messages as the generated code writes them", () => {
    const { seen, parser } = collector();
    parser.push(Buffer.concat([RECEIPT, MESSAGE]));
    expect(seen[0]).toEqual({ producerId: 3, sequenceId: 2 ** 40, highestSequenceId: 2 ** 40 + 6, ledger: 9_000_000_000, entry: 0 });
    expect(seen[1]).toMatchObject({
      consumerId: 5,
      ledger: 9_000_000_000,
      entry: 77,
      partition: 2,
      batchIndex: -1,
      redeliveries: 1,
      ackSet: undefined,
      payload: Buffer.from("body"),
    });
  });

  it("reads what is acknowledged of a batch, and that a message was a duplicate", () => {
    const { seen, parser } = collector();
    const messageId = { ledgerId: 1n, entryId: 2n, partition: -1, batchIndex: -1 };
    parser.push(withEntry(commandFrame({ case: "message", value: { consumerId: 1, messageId, ackSet: [-2n, 5n] } }), ENTRY));
    const none = 2n ** 64n - 1n;
    parser.push(
      commandFrame({ case: "sendReceipt", value: { producerId: 1, sequenceId: 4n, messageId: { ledgerId: none, entryId: none } } }),
    );
    expect(seen[0]).toMatchObject({ partition: -1, ackSet: Uint32Array.of(0xfffffffe, 0xffffffff, 5, 0) });
    expect(seen[1]).toEqual({ producerId: 1, sequenceId: 4, highestSequenceId: 0, ledger: -1, entry: -1 });
  });

  it("passes the broker's own metadata over, and takes an entry without a checksum", () => {
    const { seen, parser } = collector();
    const own = toBinary(BrokerEntryMetadataSchema, create(BrokerEntryMetadataSchema, { brokerTimestamp: 5n, index: 6n }));
    const head = Buffer.alloc(6);
    head.writeUInt16BE(0x0e02, 0);
    head.writeUInt32BE(own.length, 2);
    parser.push(delivered(Buffer.concat([head, own, ENTRY])));
    parser.push(delivered(ENTRY.subarray(6)));
    expect(seen).toMatchObject([{ payload: Buffer.from("body") }, { payload: Buffer.from("body") }]);
  });

  it("one wrong bit anywhere in an entry is never delivered", () => {
    for (let bit = 0; bit < 8 * ENTRY.length; bit++) {
      const wrong = Buffer.from(ENTRY);
      wrong[bit >> 3] = (wrong[bit >> 3] as number) ^ (1 << (bit & 7));
      const { seen, parser } = collector();
      expect(() => parser.push(delivered(wrong)), `bit ${bit}`).toThrow(bit >= 16 ? ChecksumError : WireError);
      expect(seen).toEqual([]);
    }
  });

  it("refuses sizes that can't be before it gathers anything, and then looks at nothing more", () => {
    for (const impossible of [0, 5, 5_242_880 + FRAME_PADDING + 1, 0xffffffff]) {
      const { seen, parser } = collector();
      expect(() => parser.push(size(impossible)), String(impossible)).toThrow(WireError);
      parser.push(PING);
      expect(seen).toEqual([]);
    }
    const { parser } = collector();
    parser.push(size(5_242_880 + FRAME_PADDING).subarray(0, 4));
    const small = collector().parser;
    small.maxMessageSize = 1_000;
    expect(() => small.push(size(1_001 + FRAME_PADDING))).toThrow(WireError);
  });

  it("refuses frames that contradict themselves", () => {
    const longer = Buffer.concat([PING, Buffer.of(0)]);
    longer.writeUInt32BE(longer.length - 4, 0);
    const cut = delivered(ENTRY.subarray(6, 9));
    const nowhere = withEntry(
      commandFrame({ case: "message", value: { consumerId: 1, messageId: { ledgerId: 2n ** 64n - 1n, entryId: 1n } } }),
      ENTRY,
    );
    const far = withEntry(
      commandFrame({ case: "message", value: { consumerId: 1, messageId: { ledgerId: 2n ** 60n, entryId: 1n } } }),
      ENTRY,
    );
    const untyped = Buffer.concat([
      size(10, 6),
      toBinary(BaseCommandSchema, create(BaseCommandSchema, { type: 18, command: { case: "ping", value: {} } })).subarray(2),
      Buffer.of(0x92, 1, 0),
    ]);
    for (const [name, frame] of Object.entries({
      longer,
      cut,
      nowhere,
      far,
      untyped,
      command: Buffer.concat([size(8, 5), Buffer.alloc(4)]),
    })) {
      expect(() => collector().parser.push(frame), name).toThrow(WireError);
    }
  });

  it("stops in the middle of a chunk", () => {
    const seen: string[] = [];
    const parser = new FrameParser({
      command: (command) => {
        seen.push(command.case);
        parser.stop();
      },
      receipt: () => {},
      message: () => {},
    });
    parser.push(Buffer.concat([PING, PONG]));
    expect(seen).toEqual(["ping"]);
  });
});
