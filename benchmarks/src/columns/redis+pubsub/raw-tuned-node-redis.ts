import type { Column } from "../../measure/column.ts";
import { connectNodeRedis } from "../redis/node-redis.ts";
import { ChannelSession } from "./channel.ts";

export const column: Column = {
  title: "@redis/client, pipelines",
  kind: "tuned",
  summary: "`execAsPipeline` of PUBLISH, several under way; a listener for Buffers",
  packages: () => ["@redis/client"],
  latency: true,
  async open(site, workload) {
    const { client } = await connectNodeRedis(site);
    let subscriber: typeof client | undefined;
    return new ChannelSession(
      {
        async publish(channel, messages, first, count) {
          if (count === 1) {
            await client.publish(channel, messages.body(first));
            return;
          }
          const pipeline = client.multi();
          for (let n = first; n < first + count; n++) pipeline.publish(channel, messages.body(n));
          await pipeline.execAsPipeline();
        },
        async subscribe(channel, listener) {
          subscriber ??= (await connectNodeRedis(site)).client;
          await subscriber.subscribe(channel, listener, true);
        },
        async unsubscribe(channel) {
          await subscriber?.unsubscribe(channel);
        },
        close() {
          subscriber?.destroy();
          client.destroy();
        },
      },
      workload,
    );
  },
};
