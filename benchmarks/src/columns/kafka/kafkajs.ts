import type { Site } from "../../measure/column.ts";
import type { Messages } from "../../measure/messages.ts";
import { GROUP, type LogClient, PARTITIONS } from "./log.ts";

/** kafkajs: an idempotent producer with acks=all, and `eachBatch`, or `eachMessage` with a commit for each. */
export async function openKafkajs({ host, port }: Pick<Site, "host" | "port">, each: boolean): Promise<LogClient> {
  // Node 24 warns of a negative timer of this library at every request.
  process.removeAllListeners("warning");
  const { Kafka, logLevel, Partitioners } = await import("kafkajs");
  const kafka = new Kafka({ clientId: "bench", brokers: [`${host}:${port}`], logLevel: logLevel.NOTHING });
  const admin = kafka.admin();
  const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1, createPartitioner: Partitioners.DefaultPartitioner });
  await Promise.all([admin.connect(), producer.connect()]);
  const recordOf = (messages: Messages, index: number) => ({ value: messages.body(index), key: messages.key(index) ?? null });
  return {
    async create(topic) {
      await admin.createTopics({ topics: [{ topic, numPartitions: PARTITIONS }], waitForLeaders: true });
    },
    async add(topic, messages, first, count) {
      const batch = Array.from({ length: count }, (_, n) => recordOf(messages, first + n));
      await producer.send({ topic, acks: -1, messages: batch });
    },
    async read(topic, take, rest, fail) {
      const consumer = kafka.consumer({ groupId: `${GROUP}-${topic}`, maxWaitTimeInMs: 100 });
      consumer.on(consumer.events.CRASH, ({ payload }) => fail(payload.error));
      // It has joined some time before it begins to read.
      const reading = new Promise<void>((resolve) => consumer.on(consumer.events.FETCH_START, () => resolve()));
      await consumer.connect();
      await consumer.subscribe({ topics: [topic], fromBeginning: true });
      await consumer.run(
        each
          ? {
              autoCommit: false,
              async eachMessage({ partition, message }) {
                take(message.value as Buffer);
                await rest();
                await consumer.commitOffsets([{ topic, partition, offset: String(BigInt(message.offset) + 1n) }]);
              },
            }
          : {
              async eachBatch({ batch, resolveOffset, heartbeat }) {
                for (const message of batch.messages) {
                  take(message.value as Buffer);
                  await rest();
                  resolveOffset(message.offset);
                }
                await heartbeat();
              },
            },
      );
      await reading;
      return { flush: async () => {}, close: () => consumer.disconnect() };
    },
    // A producer of this library can't go on once a topic that it has written to is deleted.
    async remove() {},
    async close() {
      await Promise.all([admin.disconnect(), producer.disconnect()]);
    },
  };
}
