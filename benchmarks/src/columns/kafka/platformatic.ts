import type { Site } from "../../measure/column.ts";
import { GROUP, type LogClient, PARTITIONS } from "./log.ts";

/** @platformatic/kafka by its own classes: an idempotent producer with acks=all, and its stream of messages. */
export async function openPlatformatic({ host, port }: Pick<Site, "host" | "port">): Promise<LogClient> {
  const { Admin, Consumer, MessagesStreamModes, Producer } = await import("@platformatic/kafka");
  const common = { clientId: "bench", bootstrapBrokers: [`${host}:${port}`] };
  const admin = new Admin(common);
  const producer = new Producer<Buffer, Buffer, Buffer, Buffer>({ ...common, idempotent: true });
  return {
    async create(topic) {
      await admin.createTopics({ topics: [topic], partitions: PARTITIONS, replicas: 1 });
    },
    async add(topic, messages, first, count) {
      const batch = new Array(count);
      for (let n = 0; n < count; n++) {
        const key = messages.key(first + n);
        const value = messages.body(first + n);
        batch[n] = key === undefined ? { topic, value } : { topic, value, key: Buffer.from(key) };
      }
      await producer.send({ messages: batch });
    },
    async read(topic, take, rest, fail) {
      const consumer = new Consumer<Buffer, Buffer, Buffer, Buffer>({ ...common, groupId: `${GROUP}-${topic}` });
      const stream = await consumer.consume({
        topics: [topic],
        mode: MessagesStreamModes.EARLIEST,
        autocommit: 100,
        maxWaitTime: 100,
        highWaterMark: 4_096,
      });
      let slow: Promise<void> | undefined;
      stream.on("error", fail);
      stream.on("data", (message) => {
        take(message.value);
        const resting = rest();
        if (resting === undefined || slow !== undefined) return;
        stream.pause();
        slow = resting.then(() => {
          slow = undefined;
          stream.resume();
        });
      });
      return {
        // What was handled is committed by the stream as it closes.
        flush: async () => {},
        close: async () => {
          await consumer.close(true);
        },
      };
    },
    async remove(topic) {
      await admin.deleteTopics({ topics: [topic] });
    },
    async close() {
      await Promise.all([admin.close(), producer.close()]);
    },
  };
}
