import type { Redis } from "ioredis";
import type { Site } from "../../measure/column.ts";
import type { Messages } from "../../measure/messages.ts";
import type { StreamClient } from "./stream.ts";

type Arg = string | Buffer;

/** The arguments of one XADD. */
export function xadd(stream: string, messages: Messages, index: number): [string, string, string, Buffer, ...string[]] {
  const key = messages.key(index);
  return key === undefined ? [stream, "*", "body", messages.body(index)] : [stream, "*", "body", messages.body(index), "key", key];
}

/** ioredis, with pipelines. */
export async function openIoredis({ host, port }: Pick<Site, "host" | "port">): Promise<StreamClient> {
  const { Redis: Client } = await import("ioredis");
  const open = async (): Promise<Redis> => {
    const client = new Client({ host, port, lazyConnect: true, maxRetriesPerRequest: null });
    client.on("error", () => {});
    await client.connect();
    return client;
  };
  const main = await open();
  let reader: Redis | undefined;
  return {
    async add(stream, messages, first, count) {
      if (count === 1) {
        await main.xadd(...xadd(stream, messages, first));
        return;
      }
      const pipeline = main.pipeline();
      for (let n = first; n < first + count; n++) pipeline.xadd(...xadd(stream, messages, n));
      const results = await pipeline.exec();
      for (const [error] of results ?? []) if (error !== null) throw error;
    },
    command: ([name = "", ...args]: readonly Arg[]) => main.call(String(name), ...args),
    async read([name = "", ...args]) {
      reader ??= await open();
      return reader.callBuffer(name, ...args);
    },
    endReading: () => {
      reader?.disconnect();
      reader = undefined;
    },
    close: () => {
      reader?.disconnect();
      main.disconnect();
    },
  };
}
