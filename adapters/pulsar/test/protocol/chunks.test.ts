import { randomBytes } from "node:crypto";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { create, toBinary } from "@bufbuild/protobuf";
import { beforeAll, expect, test } from "vitest";
import { Connection } from "../../src/protocol/connection.ts";
import { settingsOf } from "../../src/protocol/options.ts";
import { crc32c } from "../../src/protocol/wire/crc32c.ts";
import { BaseCommandSchema, MessageMetadataSchema } from "../../src/protocol/wire/pulsar.generated.ts";
import { client, consume, defer, fresh, message, produce, soon, startServer, texts } from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer();
});

function sized(bytes: Uint8Array): Buffer {
  const size = Buffer.alloc(4);
  size.writeUInt32BE(bytes.length);
  return Buffer.concat([size, bytes]);
}

/** A chunk as Java's producer writes it, by the generated code alone. */
function chunkFrame(
  producerName: string,
  sequence: number,
  uuid: string,
  of: { index: number; count: number; size: number },
  payload: Buffer,
): Buffer {
  const value = { producerId: 1, sequenceId: BigInt(sequence) };
  const command = toBinary(BaseCommandSchema, create(BaseCommandSchema, { type: 6, command: { case: "send", value } }));
  const metadata = create(MessageMetadataSchema, {
    producerName,
    sequenceId: BigInt(sequence),
    publishTime: BigInt(Date.now()),
    uuid,
    chunkId: of.index,
    numChunksFromMsg: of.count,
    totalChunkMsgSize: of.size,
  });
  const checked = Buffer.concat([sized(toBinary(MessageMetadataSchema, metadata)), payload]);
  const head = Buffer.alloc(6);
  head.writeUInt16BE(0x0e01);
  head.writeUInt32BE(crc32c(checked, 0, checked.length), 2);
  return sized(Buffer.concat([sized(command), head, checked]));
}

/** Writes frames as a producer of its own, and waits for their receipts. */
async function write(topic: string, frames: (name: string) => readonly Buffer[]): Promise<void> {
  const settings = settingsOf({ serviceUrl: `pulsar://${broker.host}:${broker.port}` });
  const connection = await Connection.open({ host: broker.host, port: broker.port, secure: false }, settings, soon());
  defer(async () => connection.close(new Error("over") as never));
  const stored = Promise.withResolvers<void>();
  let receipts = 0;
  let expected = Number.POSITIVE_INFINITY;
  connection.attachProducer(1, {
    receipt: () => ++receipts === expected && stored.resolve(),
    refused: (_, error) => stored.reject(error),
    detached: (error) => stored.reject(error),
    drained: () => {},
  });
  await connection.request("lookupTopicResponse", soon(), (requestId) => ({ case: "lookupTopic", value: { topic, requestId } }));
  const { producerName } = await connection.request("producerSuccess", soon(), (requestId) => ({
    case: "producer",
    value: { topic, producerId: 1, requestId },
  }));
  const all = frames(producerName);
  expected = all.length;
  for (const frame of all) connection.write(frame);
  await stored.promise;
}

test("a message in chunks is put together, between others, and acknowledged as a whole", async () => {
  const topic = fresh();
  const transport = client(broker);
  await consume(transport, topic, { subscription: "first" });
  const whole = randomBytes(10_000);
  const part = (index: number): Buffer => whole.subarray(index * 4_000, (index + 1) * 4_000);
  await write(topic, (name) => [
    chunkFrame(name, 0, "a", { index: 0, count: 3, size: 10_000 }, part(0)),
    chunkFrame(name, 1, "b", { index: 0, count: 2, size: 10 }, Buffer.from("never")),
    chunkFrame(name, 2, "a", { index: 1, count: 3, size: 10_000 }, part(1)),
    chunkFrame(name, 3, "a", { index: 2, count: 3, size: 10_000 }, part(2)),
  ]);
  const { store } = await produce(transport, topic);
  await store([message("behind")]);
  const first = await consume(transport, topic, { type: "shared" });
  const [joined, behind] = await first.take(2);
  expect(joined?.payload).toEqual(whole);
  expect(String(behind?.payload)).toBe("behind");
  if (joined === undefined) throw new Error("no message");
  // All its entries come again, and then none of them.
  first.consumer.redeliver([joined.id]);
  const [again] = await first.take(1);
  expect(again).toMatchObject({ id: joined.id, redeliveries: 1 });
  expect(again?.payload).toEqual(whole);
  expect(await first.consumer.ack([joined.id])).toEqual(["confirmed"]);
  await first.consumer.close();
  const second = await consume(transport, topic, { type: "shared" });
  expect(texts(await second.take(1))).toEqual(["behind"]);
});

test("chunks that are larger together than they say end the consumer", async () => {
  const topic = fresh();
  const { ends } = await consume(client(broker), topic, { type: "exclusive" });
  await write(topic, (name) => [
    chunkFrame(name, 0, "a", { index: 0, count: 2, size: 10 }, Buffer.alloc(8)),
    chunkFrame(name, 1, "a", { index: 1, count: 2, size: 10 }, Buffer.alloc(8)),
  ]);
  await expect.poll(() => ends.length, { timeout: 15_000 }).toBe(1);
  expect(ends[0]).toMatchObject({ code: "Unsupported", cause: { fault: "CORRUPT" } });
});
