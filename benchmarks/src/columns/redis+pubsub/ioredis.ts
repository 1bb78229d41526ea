import type { Site } from "../../measure/column.ts";
import type { ChannelClient } from "./channel.ts";

/** ioredis, with pipelines. */
export async function openIoredis({ host, port }: Pick<Site, "host" | "port">): Promise<ChannelClient> {
  const { Redis } = await import("ioredis");
  const open = async () => {
    const client = new Redis({ host, port, lazyConnect: true, maxRetriesPerRequest: null });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  const main = await open();
  let subscriber: Awaited<ReturnType<typeof open>> | undefined;
  let listen: ((body: Buffer) => void) | undefined;
  return {
    async publish(channel, messages, first, count) {
      if (count === 1) {
        await main.publish(channel, messages.body(first));
        return;
      }
      const pipeline = main.pipeline();
      for (let n = first; n < first + count; n++) pipeline.publish(channel, messages.body(n));
      await pipeline.exec();
    },
    async subscribe(channel, listener) {
      if (subscriber === undefined) {
        subscriber = await open();
        subscriber.on("messageBuffer", (_channel: Buffer, body: Buffer) => listen?.(body));
      }
      listen = listener;
      await subscriber.subscribe(channel);
    },
    async unsubscribe(channel) {
      await subscriber?.unsubscribe(channel);
      listen = undefined;
    },
    close: () => {
      subscriber?.disconnect();
      main.disconnect();
    },
  };
}
