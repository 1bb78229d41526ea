import { LIBRARY, MISSING, MOVE, PARK, type Script, script, TRIM } from "./script.ts";

/**
 * Everything that must happen before a member reads: retention, delayed records, what was given back and is due, what dead members
 * left behind, and the look for a hole between what the group has read and what is still there. Runs in one transaction with the read.
 *
 * KEYS stream, meta, delayed, due, notes, inbox, its delayed, due and notes, wake-up stream. ARGV group, consumer, limit, own lease ms, 1 to
 * look for the dead, then ids of wake-up entries to remove. A consumer's name tells its lease: \`bk:<ms>:…\`.
 *
 * Answers epoch, ms until something falls due (−1: nothing), entries missing (−1: some), from, to, 1 where there is more to claim, then for
 * the stream and for the inbox: claimed entries {id, fields, deliveries, failures, 1 if it was our own} and ids that were pending and are gone.
 */
export const RECEIVE: Script = script(
  LIBRARY,
  TRIM,
  MOVE,
  MISSING,
  PARK,
  `
local group, me, limit, lease, scan = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local k, meta, inbox = KEYS[1], KEYS[2], KEYS[6]
for i = 6, #ARGV do
  c('XACK', KEYS[10], group, ARGV[i])
  c('XDEL', KEYS[10], ARGV[i])
end
if scan then trim(k, meta) end
move(k, KEYS[3])
move(inbox, KEYS[7])
local s, g = info(k), groupOf(k, group)
if not g then return redis.error_reply('NOGROUP the group is gone') end
local last, lost, to = g['last-delivered-id'], missing(s, g['last-delivered-id'], g['entries-read'], meta), ''
if lost == 0 and less(last, s.gone) and c('HGET', meta, 'deleted:' .. group) ~= s.gone then lost = -1 end
if c('HDEL', meta, 'loss:' .. group) == 1 and lost == 0 then lost = -1 end
if lost ~= 0 then
  to = s.last
  c('HSET', meta, 'deleted:' .. group, s.gone)
  if less(last, s.last) and (s.n == 0 or less(last, s.first)) then
    if s.n > 0 then to = before(s.first) end
    c('XGROUP', 'SETID', k, group, to, 'ENTRIESREAD', s.added - s.n)
  elseif not less(last, s.last) then
    to = last
    c('XGROUP', 'SETID', k, group, last, 'ENTRIESREAD', s.added)
  end
end
local more = 0
local function lane(stream, due, notes)
  local out, gone, seen = {}, {}, 0
  local function take(id, deliveries, failures, mine, ...)
    local e = c('XCLAIM', stream, group, me, ...)[1]
    if e then
      out[#out + 1] = { e[1], e[2], deliveries, failures, mine }
    else
      gone[#gone + 1] = id
      c('HDEL', notes, id)
    end
    seen = seen + 1
  end
  local ids = c('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, limit)
  table.sort(ids)
  for _, padded in ipairs(ids) do
    local id = unpad(padded)
    local failures, deliveries = noteOf(notes, id)
    c('ZREM', due, padded)
    take(id, deliveries + 1, failures, 0, 0, id, 'FORCE', 'RETRYCOUNT', deliveries + 1)
  end
  local from = '-'
  while scan and seen < limit do
    local rows = c('XPENDING', stream, group, 'IDLE', lease, from, '+', 100)
    for _, row in ipairs(rows) do
      local id, owner = row[1], row[2]
      local theirs = tonumber(string.match(owner, '^bk:(%d+):') or lease)
      local failures, _, untilMs = noteOf(notes, id)
      if row[3] >= theirs and now >= untilMs and seen < limit then take(id, row[4] + 1, failures, owner == me and 1 or 0, 0, id) end
      from = '(' .. id
    end
    if #rows < 100 then break end
  end
  if seen >= limit then more = 1 end
  return out, gone
end
local main, mainGone = lane(k, KEYS[4], KEYS[5])
local retried, retriedGone = lane(inbox, KEYS[8], KEYS[9])
local due = dueIn(KEYS[8], dueIn(KEYS[7], dueIn(KEYS[4], dueIn(KEYS[3], -1))))
return { tonumber(c('HGET', meta, 'epoch:' .. group) or 0), due, lost, last, to, more, main, mainGone, retried, retriedGone }
`,
);

/**
 * The same look for one reader without a group. KEYS stream, meta, delayed, wake. ARGV last id seen, its ordinal or "".
 * Answers entries missing, the id to go on behind, its ordinal or −1, the stream's last id, how many it was ever given,
 * ms until something falls due, the last wake-up id.
 */
export const LOOK: Script = script(
  LIBRARY,
  TRIM,
  MOVE,
  MISSING,
  `
local k, meta, last, ordinal = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
if c('EXISTS', k) == 0 then return false end
trim(k, meta)
move(k, KEYS[3])
local s = info(k)
local lost = missing(s, last, ordinal, meta)
if lost ~= 0 then
  if not less(last, s.last) then
    ordinal = s.added
  else
    last = s.n > 0 and before(s.first) or s.last
    ordinal = s.added - s.n
  end
end
local wake = c('XREVRANGE', KEYS[4], '+', '-', 'COUNT', 1)[1]
return { lost, last, ordinal or ordinalOf(s, last) or -1, s.last, s.added, dueIn(KEYS[3], -1), wake and wake[1] or '0-0' }
`,
);
