import { expect, test } from "vitest";
import { type CommandInit, commandFrame } from "../../src/protocol/wire/command.ts";
import { CommandLookupTopicResponse_LookupType as Response } from "../../src/protocol/wire/pulsar.generated.ts";
import { sendFrame } from "../../src/protocol/wire/send.ts";
import { type Answers, startFakeBroker } from "./fake-broker.ts";
import { client, consume, eventually, message, soon, texts } from "./stage.ts";
import { checkedEntry, entryOf, OPTIONS, withEntry } from "./wire/messages.ts";

const READER = { type: "exclusive", durable: false, subscription: "reader" } as const;
const entry = (text: string): Buffer => entryOf(sendFrame([message(text)], OPTIONS));

/** What a broker delivers, as it is asked for messages; it says that everything up to `floor` is gone. */
async function reading(
  floor: readonly [ledger: bigint, entry: bigint] | undefined,
  ...entries: (readonly [ledger: bigint, entry: bigint, Buffer])[]
) {
  let delivered = false;
  const answers: Answers = ({ case: name, value }) => {
    const { requestId = 0, consumerId = 0 } = value as { requestId?: number; consumerId?: number };
    const messages = entries.map(([ledgerId, entryId, bytes]) =>
      withEntry(commandFrame({ case: "message", value: { consumerId, messageId: { ledgerId, entryId }, redeliveryCount: 0 } }), bytes),
    );
    const said: Partial<Record<string, readonly (CommandInit | Buffer)[]>> = {
      partitionMetadata: [{ case: "partitionMetadataResponse", value: { requestId, partitions: 0, response: 0 } }],
      lookupTopic: [
        { case: "lookupTopicResponse", value: { requestId, response: Response.Connect, brokerServiceUrl: "pulsar://127.0.0.1:1" } },
      ],
      subscribe: [{ case: "success", value: { requestId } }],
      closeConsumer: [{ case: "success", value: { requestId } }],
      flow: delivered ? [] : messages,
      getLastMessageId: [
        floor === undefined
          ? { case: "error", value: { requestId, error: 1, message: "no" } }
          : {
              case: "getLastMessageIdResponse",
              value: {
                requestId,
                lastMessageId: { ledgerId: 9n, entryId: 9n },
                consumerMarkDeletePosition: { ledgerId: floor[0], entryId: floor[1] },
              },
            },
      ],
    };
    delivered ||= name === "flow";
    return said[name] ?? [];
  };
  return consume(client(await startFakeBroker(answers)), "persistent://public/default/fake", READER);
}

test("a reader that comes to another ledger says what is gone before it, and nothing where nothing is", async () => {
  for (const [floor, gone] of [
    [[1n, 6n], true],
    [[2n, -1n], true],
    [[1n, 5n], false],
    [[0n, 9n], false],
  ] as const) {
    const place = floor[1] < 0n ? ([floor[0], 0xffff_ffff_ffff_ffffn] as const) : floor;
    const { take } = await reading(place, [1n, 5n, entry("a")], [2n, 0n, entry("b")], [2n, 1n, entry("c")], [3n, 0n, entry("d")]);
    const taken = await take(4);
    expect(texts(taken)).toEqual(["a", "b", "c", "d"]);
    const after = { ledger: 1, entry: 5, partition: 0, batchIndex: -1 };
    expect(taken.map(({ gapAfter }) => gapAfter)).toEqual([undefined, gone ? after : undefined, undefined, undefined]);
  }
});

test("a reader that is not told what is gone, or gets an entry there that can't be read, ends and says so", async () => {
  const silent = await reading(undefined, [1n, 5n, entry("a")], [2n, 0n, entry("b")]);
  await eventually(() => silent.ends.length === 1, "the end of the reader");
  expect(silent.ends[0]).toMatchObject({ code: "MetadataError" });
  const broken = checkedEntry(Buffer.from([0xff, 0xff, 0xff]), Buffer.alloc(3));
  const garbled = await reading([1n, 5n], [1n, 5n, entry("a")], [2n, 0n, broken]);
  await eventually(() => garbled.ends.length === 1, "the end of the reader");
  expect(garbled.ends[0]).toMatchObject({ code: "Unsupported" });
  await expect(garbled.consumer.receive(1, 10, soon())).rejects.toMatchObject({ code: "Unsupported" });
});
