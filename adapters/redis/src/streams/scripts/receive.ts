import type { Reply, Script } from "../../client.ts";
import { LIBRARY, MISSING, MOVE, PARK, script, TRIM } from "./script.ts";

/**
 * Everything that must happen before a member reads: retention, delayed records, what was given back and is due, what dead members
 * left behind, and the look for a hole between what the group has read and what is still there. Runs in one transaction with the read.
 *
 * KEYS as GroupKeys lists them. ARGV group, consumer, limit, own lease ms, 1 to look for the dead, 1 for who owns the topic alone, then ids
 * of wake-up entries to remove. A consumer's name tells its lease: \`bk:<ms>:…\`. The error FENCED: another member owns it by now.
 *
 * Answers epoch, ms until something falls due (−1: nothing), entries missing (−1: some), from, to, 1 where there is more to claim, then for
 * the stream and for the inbox: claimed entries {id, fields, deliveries, failures, 1 if it was our own} and ids that were pending and are
 * gone; then for who owns the topic alone the last ids read of the stream and the inbox, and the last wake-up.
 */
export const RECEIVE: Script = script(
  LIBRARY,
  TRIM,
  MOVE,
  MISSING,
  PARK,
  `
local group, me, limit, lease, scan = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5] == '1'
local meta, k, inbox = KEYS[1], KEYS[2], KEYS[6]
evenWhenFull(meta)
for i = 7, #ARGV do
  c('XACK', KEYS[10], group, ARGV[i])
  c('XDEL', KEYS[10], ARGV[i])
end
if scan then trim(k, meta) end
move(k, KEYS[3])
move(inbox, KEYS[7])
local g = groupOf(k, group)
if not g then return redis.error_reply('NOGROUP the group is gone') end
local alone = ARGV[6] == '1'
if alone and c('HGET', meta, 'owner:' .. group) ~= me then return redis.error_reply('FENCED another member owns the topic') end
local last, to, lost = g['last-delivered-id'], '', 0
local ordinal, flagged = readUpTo(meta, group, last), c('HDEL', meta, 'loss:' .. group) == 1
-- What is unread and what is there agree as long as nothing is missing: the closer look, which touches bodies, is for when they don't.
if scan or flagged or not g['lag'] or g['entries-read'] ~= ordinal or g['lag'] > c('XLEN', k) then
  local s = info(k)
  if g['entries-read'] ~= (ordinal or false) then c('XGROUP', 'SETID', k, group, last, 'ENTRIESREAD', ordinal or -1) end
  lost = missing(s, last, ordinal, meta)
  if lost == 0 and (flagged or (less(last, s.gone) and c('HGET', meta, 'deleted:' .. group) ~= s.gone)) then lost = -1 end
  if lost ~= 0 then
    to = s.last
    c('HSET', meta, 'deleted:' .. group, s.gone)
    if less(last, s.last) and s.n > 0 and less(last, s.first) then to = before(s.first)
    elseif less(last, s.last) and s.n > 0 then to = last end
    ordinal = ordinalOf(s, to)
    c('XGROUP', 'SETID', k, group, to, 'ENTRIESREAD', ordinal or -1)
    noteRead(meta, group, to, ordinal)
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
  -- Of more than can be handed out the oldest come first, whenever they fell due.
  if c('ZCOUNT', due, '-inf', now) > limit then
    for _, padded in ipairs(c('ZRANGEBYSCORE', due, '(0', now)) do c('ZADD', due, 0, padded) end
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
local after
if alone then
  local woken = c('XREVRANGE', KEYS[10], '+', '-', 'COUNT', 1)[1]
  after = { lost == 0 and last or to, groupOf(inbox, group)['last-delivered-id'], woken and woken[1] or '0-0' }
end
return { tonumber(c('HGET', meta, 'epoch:' .. group) or 0), due, lost, last, to, more, main, mainGone, retried, retriedGone, after }
`,
);

/**
 * Runs right after each read of a group, and answers the epoch. KEYS as GroupKeys lists them. ARGV group.
 * A server that restarts knows what a group has read, but not how many entries that were: that number is not in its log.
 */
export const NOTE: Script = script(
  LIBRARY,
  MISSING,
  `
evenWhenFull(KEYS[1])
local g = groupOf(KEYS[2], ARGV[1])
if g then noteRead(KEYS[1], ARGV[1], g['last-delivered-id'], g['entries-read']) end
return tonumber(c('HGET', KEYS[1], 'epoch:' .. ARGV[1]) or 0)
`,
);

/**
 * The same look for one reader without a group. KEYS as TopicKeys lists them. ARGV last id seen, its ordinal or −1.
 * Answers entries missing, the id to go on behind, its ordinal or −1, the stream's last id, ms until something falls due, the last
 * wake-up id.
 */
export const LOOK: Script = script(
  LIBRARY,
  TRIM,
  MOVE,
  MISSING,
  `
local k, meta, last, ordinal = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
if ordinal < 0 then ordinal = nil end
if c('EXISTS', k) == 0 then return false end
evenWhenFull(meta)
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
return { lost, last, ordinal or ordinalOf(s, last) or -1, s.last, dueIn(KEYS[3], -1), wake and wake[1] or '0-0' }
`,
);

export type Fields = readonly Buffer[];
export type Entry = readonly [id: Buffer, fields: Fields];
/** `own` is 1 where it was ours before. */
export type Claimed = readonly [id: Buffer, fields: Fields, deliveries: number, failures: number, own: number];

/** What RECEIVE answers. */
export interface Received {
  readonly epoch: number;
  readonly due: number;
  readonly missing: number;
  readonly from: string;
  readonly to: string;
  readonly more: boolean;
  readonly main: readonly Claimed[];
  readonly mainGone: readonly Buffer[];
  readonly retried: readonly Claimed[];
  readonly retriedGone: readonly Buffer[];
  /** Of the stream, the inbox, and the wake-ups; for who owns the topic alone. */
  readonly after: readonly Buffer[];
}

export function received(reply: Reply): Received {
  const [epoch, due, missing, from, to, more, main, mainGone, retried, retriedGone, after = []] = reply as never as [
    ...[number, number, number, Buffer, Buffer, number],
    ...[readonly Claimed[], readonly Buffer[], readonly Claimed[], readonly Buffer[], (readonly Buffer[])?],
  ];
  return { epoch, due, missing, from: String(from), to: String(to), more: more === 1, main, mainGone, retried, retriedGone, after };
}

/** What LOOK answers. */
export interface Look {
  /** Entries that were removed unread; −1 for "some". */
  readonly missing: number;
  /** The id to go on behind. */
  readonly last: string;
  readonly ordinal: number;
  readonly end: string;
  readonly due: number;
  readonly wake: string;
}

export function looked(reply: Reply): Look {
  const [missing, last, ordinal, end, due, wake] = reply as never as [number, Buffer, number, Buffer, number, Buffer];
  return { missing, last: String(last), ordinal, end: String(end), due, wake: String(wake) };
}

/** Bytes that one read should not exceed by much. */
const READ_BYTES = 4_194_304;
/** How large entries are taken to be before any was seen. */
export const FIRST_GUESS = 65_536;

/** How many entries to ask for: fewer where the last ones were large. */
export function countFor(max: number, entryBytes: number): string {
  return String(entryBytes * max <= READ_BYTES ? max : Math.max(1, Math.floor(READ_BYTES / entryBytes)));
}

/** What to expect of the next entries: the larger of the first and the last of these. */
export function sizeOf(entries: readonly Entry[]): number {
  const size = ([, fields]: Entry): number => fields.reduce((sum, field) => sum + field.length, 0);
  return Math.max(size(entries[0] as Entry), size(entries.at(-1) as Entry));
}
