import { create, toBinary } from "@bufbuild/protobuf";
import { describe, expect, it } from "vitest";
import { ackFrame, redeliverFrame } from "../../../src/protocol/wire/ack.ts";
import { commandFrame, decodeCommand, PING, PONG } from "../../../src/protocol/wire/command.ts";
import { WireError } from "../../../src/protocol/wire/errors.ts";
import { EARLIEST, fromMessageIdData, LATEST, serverErrorName, toMessageIdData } from "../../../src/protocol/wire/ids.ts";
import { BaseCommandSchema, CommandAck_AckType, MessageIdDataSchema, ServerError } from "../../../src/protocol/wire/pulsar.generated.ts";
import { Random } from "./random.ts";

describe("commandFrame", () => {
  it("has the bytes of the protocol", () => {
    expect(PING.toString("hex")).toBe("0000000900000005" + "0812920100");
    expect(PONG.toString("hex")).toBe("0000000900000005" + "08139a0100");
    const flow = commandFrame({ case: "flow", value: { consumerId: 5, messagePermits: 300 } });
    expect(flow.toString("hex")).toBe("0000000d00000009" + "080b5a05080510ac02");
  });

  it("every command comes back as it was", () => {
    for (const { localName, number, message } of BaseCommandSchema.fields) {
      if (message === undefined) continue;
      const bytes = Buffer.from([0x08, number, ...toBinary(BaseCommandSchema, create(BaseCommandSchema, { type: number })).subarray(2)]);
      expect(decodeCommand(bytes), localName).toBeUndefined();
    }
    const value = { requestId: 7, topic: "persistent://a/b/ü", authoritative: true };
    const frame = commandFrame({ case: "lookupTopic", value });
    expect(decodeCommand(frame.subarray(8))).toMatchObject({ case: "lookupTopic", value });
  });

  it("a command that is not known is none; one that contradicts its type is refused, as is what can't be decoded", () => {
    expect(decodeCommand(Buffer.of(0x08, 64, 0x82, 4, 2, 0x08, 1))).toBeUndefined();
    expect(() => decodeCommand(Buffer.concat([Buffer.of(0x08, 3), PING.subarray(10)]))).toThrow(WireError);
    expect(() => decodeCommand(PING.subarray(8, 12))).toThrow(WireError);
  });
});

describe("ackFrame, redeliverFrame", () => {
  const long = (low: number, high: number) => BigInt.asIntN(64, (BigInt(high) << 32n) | BigInt(low));

  it("write what the generated code writes, byte for byte", () => {
    for (let seed = 1; seed <= 300; seed++) {
      const random = new Random(seed);
      const ids = Array.from({ length: random.below(6) }, () => {
        const words = random.chance(2)
          ? Uint32Array.from({ length: 2 * random.below(12) }, () => (random.chance(3) ? 0 : random.below(2 ** 32)))
          : undefined;
        return {
          ledger: random.number(),
          entry: random.number(),
          ackSet: words,
          batchSize: random.chance(2) ? random.below(2 ** 31) : undefined,
        };
      });
      const consumerId = random.below(2 ** 32);
      const requestId = random.chance(3) ? undefined : random.below(2 ** 32);
      const data = ids.map(({ ledger, entry, ackSet = new Uint32Array(), batchSize }) => ({
        ledgerId: BigInt(ledger),
        entryId: BigInt(entry),
        ackSet: Array.from({ length: ackSet.length / 2 }, (_, n) => long(ackSet[2 * n] as number, ackSet[2 * n + 1] as number)),
        ...(batchSize !== undefined && { batchSize }),
      }));
      const type = random.pick(["individual", "cumulative"] as const);
      const ackType = type === "individual" ? CommandAck_AckType.Individual : CommandAck_AckType.Cumulative;
      const ack = commandFrame({
        case: "ack",
        value: { consumerId, ackType, messageId: data, ...(requestId !== undefined && { requestId }) },
      });
      expect(ackFrame(consumerId, requestId, ids, type).toString("hex"), `seed ${seed}`).toBe(ack.toString("hex"));
      const messageIds = data.map(({ ledgerId, entryId }) => ({ ledgerId, entryId }));
      const redeliver = commandFrame({ case: "redeliverUnacknowledgedMessages", value: { consumerId, messageIds } });
      expect(redeliverFrame(consumerId, ids).toString("hex"), `seed ${seed}`).toBe(redeliver.toString("hex"));
    }
  });
});

describe("ids", () => {
  const data = (init: ReturnType<typeof toMessageIdData>) => fromMessageIdData(create(MessageIdDataSchema, init));

  it("come back as they were, none as -1", () => {
    const id = { ledger: Number.MAX_SAFE_INTEGER, entry: 0, partition: 3, batchIndex: 9 };
    expect(data(toMessageIdData(id))).toEqual(id);
    expect(data(toMessageIdData({ ledger: 4, entry: -1 }))).toEqual({ ledger: 4, entry: -1, partition: -1, batchIndex: -1 });
    expect(data(EARLIEST)).toMatchObject({ ledger: -1, entry: -1 });
    expect(() => data(LATEST)).toThrow(WireError);
    expect(() => data({ ledgerId: 2n ** 53n, entryId: 0n })).toThrow(WireError);
  });

  it("errors have the protocol's names", () => {
    expect(serverErrorName(ServerError.TopicNotFound)).toBe("TopicNotFound");
    expect(serverErrorName(99)).toBe("ServerError99");
  });
});
