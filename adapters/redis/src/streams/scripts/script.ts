import { createHash } from "node:crypto";
import type { Script } from "../../client.ts";

export function script(...parts: readonly string[]): Script {
  const source = parts.map((part) => part.trim()).join("\n");
  return { source, sha: createHash("sha1").update(source).digest("hex") };
}

/**
 * What several scripts share. Times are the server's own, epoch ms.
 *
 * A server without memory refuses commands that store, unless the script has written already. `evenWhenFull` is that write, and changes
 * nothing: for scripts that only move what is stored, and must not stop half-way.
 */
export const LIBRARY = `
local c = redis.call
local clock = c('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local function evenWhenFull(k) c('HDEL', k, '') end
local function parse(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return tonumber(ms), tonumber(seq)
end
local function less(x, y)
  local a, b = parse(x)
  local p, q = parse(y)
  return a < p or (a == p and b < q)
end
local function before(id)
  local ms, seq = parse(id)
  if seq > 0 then return string.format('%.0f-%.0f', ms, seq - 1) end
  return string.format('%.0f-18446744073709551615', ms - 1)
end
local function map(list)
  local m = {}
  for i = 1, #list, 2 do m[list[i]] = list[i + 1] end
  return m
end
local function info(k)
  local s = map(c('XINFO', 'STREAM', k))
  return { last = s['last-generated-id'], first = s['recorded-first-entry-id'], gone = s['max-deleted-entry-id'], n = s['length'], added = s['entries-added'] }
end
local function wake(stream)
  c('XADD', stream, 'NOMKSTREAM', 'MAXLEN', 1, '*', 'wake', 1)
end
local function groupOf(k, group)
  for _, g in ipairs(c('XINFO', 'GROUPS', k)) do
    local m = map(g)
    if m['name'] == group then return m end
  end
end
`;

/**
 * Retention, applied exactly so that the id of the last entry removed is known: readers that have not seen it have lost something.
 * `removed` is how many entries were gone by then; where more are missing later, somebody else has removed them.
 */
export const TRIM = `
local function trim(k, meta)
  local m = c('HMGET', meta, 'retentionMs', 'maxLength')
  local cut
  if m[1] then
    local from = string.format('%.0f-0', now - tonumber(m[1]))
    local e = c('XREVRANGE', k, '(' .. from, '-', 'COUNT', 1)[1]
    if e then
      cut = e[1]
      c('XTRIM', k, 'MINID', from)
    end
  end
  if m[2] and c('XLEN', k) > tonumber(m[2]) then
    c('XTRIM', k, 'MAXLEN', tonumber(m[2]) + 1)
    cut = c('XRANGE', k, '-', '+', 'COUNT', 1)[1][1]
    c('XTRIM', k, 'MAXLEN', m[2])
  end
  if cut then
    local s = info(k)
    c('HSET', meta, 'trimmed', cut, 'removed', s.added - s.n)
  end
end
`;

/** Delayed records whose time has come enter the stream, in the order in which they fall due. */
export const MOVE = `
local function move(k, delayed)
  for _, packed in ipairs(c('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 1000)) do
    c('XADD', k, '*', unpack(cmsgpack.unpack(string.sub(packed, 17))))
    c('ZREM', delayed, packed)
  end
end
local function dueIn(z, least)
  local first = c('ZRANGE', z, 0, 0, 'WITHSCORES')
  if not first[2] then return least end
  local ms = math.max(0, tonumber(first[2]) - now)
  if least < 0 or ms < least then return ms end
  return least
end
`;

/**
 * What a reader that has seen everything up to \`last\` will never see: how many entries, 0 for none, −1 for "some".
 * \`ordinal\` is how many entries the stream had ever been given up to \`last\`, where that is known: entries-added minus length is how
 * many are gone, and all of those lie before the first one.
 */
export const MISSING = `
local function missing(s, last, ordinal, meta)
  if not less(last, s.last) then
    if ordinal then return math.max(0, s.added - ordinal) end
    return 0
  end
  if s.n > 0 and not less(last, s.first) then return 0 end
  if ordinal then return math.max(0, s.added - s.n - ordinal) end
  local m = c('HMGET', meta, 'trimmed', 'removed')
  if m[1] and less(last, m[1]) then return -1 end
  if s.added - s.n ~= tonumber(m[2] or 0) then return -1 end
  return 0
end
local function noteRead(meta, group, last, ordinal)
  local note = last .. ' ' .. (ordinal or '')
  if c('HGET', meta, 'read:' .. group) ~= note then c('HSET', meta, 'read:' .. group, note) end
end
local function readUpTo(meta, group, last)
  local id, ordinal = string.match(c('HGET', meta, 'read:' .. group) or '', '^(%S+) (%d*)$')
  return id == last and tonumber(ordinal) or nil
end
local function ordinalOf(s, last)
  if not less(last, s.last) then return s.added end
  if s.n == 0 or less(last, s.first) then return s.added - s.n end
end
`;

/** Entries that were given back wait outside the pending list, by due time; padded ids so that equal times keep the stream's order. */
export const PARK = `
local function pad(id)
  local ms, seq = string.match(id, '^(%d+)-(%d+)$')
  return string.rep('0', 20 - #ms) .. ms .. '-' .. string.rep('0', 20 - #seq) .. seq
end
local function unpad(id)
  local ms, seq = string.match(id, '^0*(%d+)-0*(%d+)$')
  return ms .. '-' .. seq
end
local function noteOf(notes, id)
  local failures, deliveries, untilMs = string.match(c('HGET', notes, id) or '', '^(%d+) (%d+) (%d+)$')
  return tonumber(failures or 0), tonumber(deliveries or 0), tonumber(untilMs or 0)
end
local function owned(k, group, consumer, id, deliveries)
  local row = c('XPENDING', k, group, id, id, 1, consumer)[1]
  return row and row[4] == deliveries
end
local function park(k, due, notes, group, id, deliveries, failures, delayMs)
  c('XACK', k, group, id)
  c('ZADD', due, now + delayMs, pad(id))
  c('HSET', notes, id, failures .. ' ' .. deliveries .. ' 0')
end
`;
