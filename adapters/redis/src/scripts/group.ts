import { LIBRARY, MISSING, PARK, type Script, script } from "./script.ts";

/**
 * Creates a group with its inbox, or moves one that exists. KEYS stream, meta, due, notes, inbox, its delayed, due and notes, wake-up stream.
 * ARGV group, "create" or "seek", start id ("latest" for the end), 1 where a hole before the start is a loss.
 * Answers {1 created, 0 existing, 2 moved, -1 nothing to move; epoch}, or nil without a stream.
 *
 * Seek destroys the group and makes it anew: that clears what is pending and wakes every member that blocks on it. The epoch tells
 * the group's deliveries from those before. The inbox is no part of the topic: nothing in it is passed over, it is only taken back.
 * The number of entries read is given wherever it is known, since lag and the look for holes are computed from it.
 */
export const GROUP: Script = script(
  LIBRARY,
  MISSING,
  PARK,
  `
local k, meta, inbox, group, seek = KEYS[1], KEYS[2], KEYS[5], ARGV[1], ARGV[2] == 'seek'
if c('EXISTS', k) == 0 then return false end
local s, start = info(k), ARGV[3]
if start == 'latest' or not less(start, s.last) then start = s.last end
local known, epoch = groupOf(k, group), tonumber(c('HGET', meta, 'epoch:' .. group) or 0)
if seek and not known then return { -1, epoch } end
for _, beside in ipairs({ inbox, KEYS[9] }) do
  if c('EXISTS', beside) == 0 or not groupOf(beside, group) then c('XGROUP', 'CREATE', beside, group, '0', 'MKSTREAM') end
end
if known and not seek then
  local ordinal = ordinalOf(s, known['last-delivered-id'])
  if not known['entries-read'] and ordinal then c('XGROUP', 'SETID', k, group, known['last-delivered-id'], 'ENTRIESREAD', ordinal) end
  -- Members that died long ago with nothing pending leave their names behind.
  for _, consumer in ipairs(c('XINFO', 'CONSUMERS', k, group)) do
    local m = map(consumer)
    if m['pending'] == 0 and m['idle'] > 3600000 and string.sub(m['name'], 1, 3) == 'bk:' then c('XGROUP', 'DELCONSUMER', k, group, m['name']) end
  end
  return { 0, epoch }
end
if known then
  c('XGROUP', 'DESTROY', k, group)
  c('DEL', KEYS[3], KEYS[4])
  while true do
    local rows = c('XPENDING', inbox, group, '-', '+', 1000)
    for _, row in ipairs(rows) do park(inbox, KEYS[7], KEYS[8], group, row[1], row[4], noteOf(KEYS[8], row[1]), 0) end
    if #rows < 1000 then break end
  end
  epoch = c('HINCRBY', meta, 'epoch:' .. group, 1)
end
local ordinal = ordinalOf(s, start)
if ordinal then c('XGROUP', 'CREATE', k, group, start, 'ENTRIESREAD', ordinal) else c('XGROUP', 'CREATE', k, group, start) end
c('HSET', meta, 'deleted:' .. group, s.gone)
c('HDEL', meta, 'loss:' .. group)
if ARGV[4] == '1' and missing(s, start, nil, meta) ~= 0 then c('HSET', meta, 'loss:' .. group, 1) end
return { known and 2 or 1, epoch }
`,
);

/** Removes a group with all that belongs to it. KEYS as GROUP has them. ARGV group. */
export const DROP_GROUP: Script = script(
  `
local c = redis.call
if c('EXISTS', KEYS[1]) == 1 then c('XGROUP', 'DESTROY', KEYS[1], ARGV[1]) end
c('HINCRBY', KEYS[2], 'epoch:' .. ARGV[1], 1)
return c('DEL', unpack(KEYS, 3))
`,
);

/**
 * Where a group stands. KEYS stream, due, inbox, its delayed, delayed. ARGV group.
 * Answers its floor (the entry before the oldest one that is not acknowledged), lag of the stream or −1, pending, given back,
 * inbox entries, delayed inbox entries, pending inbox entries, the oldest unacknowledged id or "", delayed records of the topic.
 */
export const STATE: Script = script(
  LIBRARY,
  PARK,
  `
local k, group = KEYS[1], ARGV[1]
if c('EXISTS', k) == 0 then return false end
local g = groupOf(k, group)
if not g then return -1 end
local floor, oldest = g['last-delivered-id'], ''
local lowest = c('XPENDING', k, group)[2]
for _, padded in ipairs(c('ZRANGE', KEYS[2], 0, 999)) do
  local id = unpad(padded)
  if not lowest or less(id, lowest) then lowest = id end
end
if lowest then
  local previous = c('XREVRANGE', k, '(' .. lowest, '-', 'COUNT', 1)[1]
  floor, oldest = previous and previous[1] or before(lowest), lowest
else
  local unread = c('XRANGE', k, '(' .. floor, '+', 'COUNT', 1)[1]
  if unread then oldest = unread[1] end
end
local inbox, waiting = 0, 0
if c('EXISTS', KEYS[3]) == 1 then
  inbox = c('XLEN', KEYS[3])
  waiting = c('XPENDING', KEYS[3], group)[1]
  local first = c('XRANGE', KEYS[3], '-', '+', 'COUNT', 1)[1]
  if first and (oldest == '' or less(first[1], oldest)) then oldest = first[1] end
end
return { floor, g['lag'] or -1, g['pending'], c('ZCARD', KEYS[2]), inbox, c('ZCARD', KEYS[4]), waiting, oldest, c('ZCARD', KEYS[5]) }
`,
);
