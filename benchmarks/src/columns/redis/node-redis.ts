import type { createClient } from "@redis/client";
import type { Site } from "../../measure/column.ts";
import type { StreamClient } from "./stream.ts";

export type NodeRedis = ReturnType<typeof createClient>;

/** A connected client without a timer per command; bulk strings come as Buffers from `sendCommand` with `buffers`. */
export async function connectNodeRedis({ host, port }: Pick<Site, "host" | "port">): Promise<{
  readonly client: NodeRedis;
  readonly buffers: NonNullable<Parameters<NodeRedis["sendCommand"]>[1]>;
}> {
  const { createClient, RESP_TYPES } = await import("@redis/client");
  const client = createClient({ socket: { host, port }, RESP: 2, commandOptions: { timeout: 0 } }) as unknown as NodeRedis;
  client.on("error", () => {});
  await client.connect();
  return { client, buffers: { typeMapping: { [RESP_TYPES.BLOB_STRING]: Buffer } } };
}

/** @redis/client, with pipelines. */
export async function openNodeRedis(site: Pick<Site, "host" | "port">): Promise<StreamClient & { readonly main: NodeRedis }> {
  const { client: main } = await connectNodeRedis(site);
  let reader: Awaited<ReturnType<typeof connectNodeRedis>> | undefined;
  return {
    main,
    async add(stream, messages, first, count) {
      const pipeline = main.multi();
      for (let n = first; n < first + count; n++) {
        const key = messages.key(n);
        const body = messages.body(n);
        pipeline.xAdd(stream, "*", key === undefined ? { body } : { body, key });
      }
      await pipeline.execAsPipeline();
    },
    command: (args) => main.sendCommand([...args]),
    async read(args) {
      reader ??= await connectNodeRedis(site);
      return reader.client.sendCommand([...args], reader.buffers);
    },
    endReading: () => {
      reader?.client.destroy();
      reader = undefined;
    },
    close: () => {
      reader?.client.destroy();
      main.destroy();
    },
  };
}
