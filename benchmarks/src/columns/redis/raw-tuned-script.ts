import type { Column } from "../../measure/column.ts";
import { openNodeRedis } from "./node-redis.ts";
import { StreamSession } from "./stream.ts";

const STEP = 200;
const WINDOW = 4;
const SCRIPT = `
local ids = {}
for n = 1, #ARGV, 2 do
  if ARGV[n] == '' then ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'body', ARGV[n + 1])
  else ids[#ids + 1] = redis.call('XADD', KEYS[1], '*', 'body', ARGV[n + 1], 'key', ARGV[n]) end
end
return ids`;

export const column: Column = {
  title: "@redis/client, one script",
  kind: "tuned",
  summary: `one EVALSHA that XADDs ${STEP} entries, ${WINDOW} under way: what few applications do by hand`,
  packages: () => ["@redis/client"],
  latency: false,
  async open(site, workload) {
    const client = await openNodeRedis(site);
    const sha = String(await client.command(["SCRIPT", "LOAD", SCRIPT]));
    const scripted = {
      ...client,
      async add(...[stream, messages, first, count]: Parameters<typeof client.add>): Promise<void> {
        const args: (string | Buffer)[] = ["EVALSHA", sha, "1", stream];
        for (let n = first; n < first + count; n++) args.push(messages.key(n) ?? "", messages.body(n));
        await client.main.sendCommand(args);
      },
    };
    return new StreamSession(scripted, workload, { step: STEP, window: WINDOW });
  },
};
