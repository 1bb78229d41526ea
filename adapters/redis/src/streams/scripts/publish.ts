import type { Script } from "../../client.ts";
import { LIBRARY, MOVE, script, TRIM } from "./script.ts";

/**
 * Stores one call's records for one stream, all or none, in order. A missing stream answers nil.
 *
 * KEYS stream, meta, delayed, wake-up stream. ARGV shapes, group of an inbox or "", dedupe window ms, then each record's values.
 * A shape is one character, "0" + bits: 1 body, 2 key, 4 failures, 8 headers (their number, then names and values), 16 delayMs; with a
 * window a dedupeId follows.
 * Answers the ids, separated by spaces; "=" before the id of a duplicate; empty for what is delayed.
 */
export const PUBLISH: Script = script(
  LIBRARY,
  TRIM,
  MOVE,
  `
local k, meta, delayed, A = KEYS[1], KEYS[2], KEYS[3], ARGV
if c('EXISTS', k) == 0 then return false end
local group, window = A[2], tonumber(A[3])
if group == '' then trim(k, meta) end
move(k, delayed)
local shapes, byte, r, j, earliest = A[1], string.byte, {}, 4, dueIn(delayed, -1)
local t = { 'XADD', k, '*', 'bk1' }
for i = 1, #shapes do
  local x, n, delay, dedupe, seen, id = byte(shapes, i) - 48, 5, nil, nil, nil, ''
  t[5] = A[j]
  j = j + 1
  if x % 2 >= 1 then t[n + 1] = 'body' t[n + 2] = A[j] n = n + 2 j = j + 1 end
  if x % 4 >= 2 then t[n + 1] = 'key' t[n + 2] = A[j] n = n + 2 j = j + 1 end
  if x % 8 >= 4 then t[n + 1] = 'failures' t[n + 2] = A[j] n = n + 2 j = j + 1 end
  if x % 16 >= 8 then
    local last = j + 2 * tonumber(A[j])
    for h = j + 1, last do t[n + h - j] = A[h] end
    n = n + last - j
    j = last + 1
  end
  if x >= 16 then delay = tonumber(A[j]) j = j + 1 end
  if window > 0 then
    dedupe = k .. ':dedupe:' .. A[j]
    j = j + 1
    seen = c('GET', dedupe)
    -- A topic that was deleted and made again has not seen it.
    if seen and seen ~= '' and parse(seen) / 1000 < tonumber(c('HGET', meta, 'created') or 0) then seen = nil end
  end
  if seen then
    id = '=' .. seen
  else
    if delay then
      local count = c('HINCRBY', meta, 'delayed', 1)
      c('ZADD', delayed, now + delay, string.format('%016d', count) .. cmsgpack.pack({ unpack(t, 4, n) }))
    else
      id = c(unpack(t, 1, n))
    end
    if dedupe then c('SET', dedupe, id, 'PX', window) end
  end
  r[i] = id
end
-- Whoever waits must learn that it has to wake up earlier than it thought.
local soonest = dueIn(delayed, -1)
if soonest >= 0 and (earliest < 0 or soonest < earliest) then
  if group == '' then
    c('XADD', KEYS[4], 'MAXLEN', 1, '*', 'wake', 1)
    for _, g in ipairs(c('XINFO', 'GROUPS', k)) do wake(k .. ':' .. map(g)['name'] .. ':wake') end
  else
    wake(KEYS[4])
  end
end
return table.concat(r, ' ')
`,
);
