import type { Script } from "../../client.ts";
import { script } from "../../streams/scripts/script.ts";

/**
 * Numbers a frame's messages among all that were ever published to the channel, and publishes it. KEYS counter.
 * ARGV channel, number of messages, magic, records. The counter begins anew, under another epoch, where the server has forgotten it.
 */
export const PUBLISH_FRAME: Script = script(`
local c, k = redis.call, KEYS[1]
local epoch = c('HGET', k, 'epoch')
if not epoch then
  local time = c('TIME')
  epoch = string.format('%.0f', time[1] * 1000000 + time[2])
  c('HSET', k, 'epoch', epoch, 'count', 0)
end
local count = tonumber(ARGV[2])
local first = c('HINCRBY', k, 'count', count) - count + 1
c('PUBLISH', ARGV[1], ARGV[3] .. struct.pack('>I8I8I4', tonumber(epoch), first, count) .. ARGV[4])
return first
`);
