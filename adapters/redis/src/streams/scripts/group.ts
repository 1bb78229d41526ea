import type { WireStart } from "brokerkit/driver";
import type { Link, Script } from "../../client.ts";
import { namesMessages, startId } from "../mapping.ts";
import type { GroupKeys } from "./keys.ts";
import { LIBRARY, MISSING, PARK, script } from "./script.ts";

/**
 * Creates a group with its inbox, or moves one that exists. KEYS as GroupKeys lists them.
 * ARGV group, "create" or "seek", start id (beyond the end for the end), 1 where a hole behind the start is a loss.
 * Answers {1 created, 0 existing, 2 moved, -1 nothing to move; epoch}, or nil without a stream.
 *
 * Seek destroys the group and makes it anew: that clears what is pending and wakes every member that blocks on it. The epoch tells
 * the group's deliveries from those before. The inbox is no part of the topic: nothing in it is passed over, it is only taken back.
 * How many entries the start stands for is noted where it is known: lag and the look for holes are computed from it.
 */
const GROUP: Script = script(
  LIBRARY,
  MISSING,
  PARK,
  `
local k, meta, inbox, group, seek = KEYS[2], KEYS[1], KEYS[6], ARGV[1], ARGV[2] == 'seek'
if c('EXISTS', k) == 0 then return false end
local s, start = info(k), ARGV[3]
if not less(start, s.last) then start = s.last end
local known, epoch = groupOf(k, group), tonumber(c('HGET', meta, 'epoch:' .. group) or 0)
if seek and not known then return { -1, epoch } end
for _, beside in ipairs({ inbox, KEYS[10] }) do
  if c('EXISTS', beside) == 0 or not groupOf(beside, group) then c('XGROUP', 'CREATE', beside, group, '0', 'MKSTREAM') end
end
if known and not seek then
  evenWhenFull(meta)
  local last = known['last-delivered-id']
  if not readUpTo(meta, group, last) then noteRead(meta, group, last, ordinalOf(s, last)) end
  -- Members that died long ago with nothing pending leave their names behind.
  for _, consumer in ipairs(c('XINFO', 'CONSUMERS', k, group)) do
    local m = map(consumer)
    if m['pending'] == 0 and m['idle'] > 3600000 and string.sub(m['name'], 1, 3) == 'bk:' then c('XGROUP', 'DELCONSUMER', k, group, m['name']) end
  end
  return { 0, epoch }
end
if known then
  c('XGROUP', 'DESTROY', k, group)
  c('DEL', KEYS[4], KEYS[5])
  while true do
    local rows = c('XPENDING', inbox, group, '-', '+', 1000)
    for _, row in ipairs(rows) do park(inbox, KEYS[8], KEYS[9], group, row[1], row[4], noteOf(KEYS[9], row[1]), 0) end
    if #rows < 1000 then break end
  end
  epoch = c('HINCRBY', meta, 'epoch:' .. group, 1)
  wake(KEYS[10])
end
local ordinal = ordinalOf(s, start)
c('XGROUP', 'CREATE', k, group, start, 'ENTRIESREAD', ordinal or -1)
noteRead(meta, group, start, ordinal)
c('HSET', meta, 'deleted:' .. group, s.gone)
c('HDEL', meta, 'loss:' .. group)
if ARGV[4] == '1' and missing(s, start, nil, meta) ~= 0 then c('HSET', meta, 'loss:' .. group, 1) end
return { known and 2 or 1, epoch }
`,
);

/** Removes a group with all that belongs to it. KEYS as GroupKeys lists them. ARGV group. The topic's own keys stay. */
const DROP_GROUP: Script = script(
  `
local c = redis.call
if c('EXISTS', KEYS[2]) == 0 then return 0 end
c('XGROUP', 'DESTROY', KEYS[2], ARGV[1])
c('HINCRBY', KEYS[1], 'epoch:' .. ARGV[1], 1)
local owner = c('HGET', KEYS[1], 'owner:' .. ARGV[1])
if owner then
  c('HDEL', KEYS[1], 'owner:' .. ARGV[1])
  c('UNLINK', KEYS[10] .. ':' .. owner)
end
return c('UNLINK', unpack(KEYS, 4))
`,
);

/**
 * Where a group stands. KEYS as GroupKeys lists them. ARGV group.
 * Answers its floor (the entry before the oldest one that is not acknowledged), entries it has not read or −1, pending, what else is kept
 * for it (given back, in the inbox, delayed), pending in the inbox, the oldest id that is not acknowledged or "".
 */
const STATE: Script = script(
  LIBRARY,
  MISSING,
  PARK,
  `
local k, inbox, group = KEYS[2], KEYS[6], ARGV[1]
if c('EXISTS', k) == 0 then return false end
local g = groupOf(k, group)
if not g then return -1 end
local floor, oldest = g['last-delivered-id'], ''
local s, ordinal, unread = info(k), readUpTo(KEYS[1], group, floor), -1
if not less(floor, s.last) then unread = 0
elseif s.n == 0 or less(floor, s.first) then unread = s.n
elseif ordinal and not less(floor, s.gone) then unread = s.added - ordinal end
local lowest = c('XPENDING', k, group)[2]
for _, padded in ipairs(c('ZRANGE', KEYS[4], 0, 999)) do
  local id = unpad(padded)
  if not lowest or less(id, lowest) then lowest = id end
end
if lowest then
  local previous = c('XREVRANGE', k, '(' .. lowest, '-', 'COUNT', 1)[1]
  floor, oldest = previous and previous[1] or before(lowest), lowest
else
  local first = c('XRANGE', k, '(' .. floor, '+', 'COUNT', 1)[1]
  if first then oldest = first[1] end
end
local length, waiting = 0, 0
if c('EXISTS', inbox) == 1 then
  length = c('XLEN', inbox)
  waiting = c('XPENDING', inbox, group)[1]
  local first = c('XRANGE', inbox, '-', '+', 'COUNT', 1)[1]
  if first and (oldest == '' or less(first[1], oldest)) then oldest = first[1] end
end
local kept = c('ZCARD', KEYS[4]) + length + c('ZCARD', KEYS[7]) + c('ZCARD', KEYS[3])
return { floor, unread, g['pending'], kept, waiting, oldest }
`,
);

export type Placed = "created" | "existing" | "moved" | "no group" | "no topic";
const PLACED: readonly Placed[] = ["no group", "existing", "created", "moved"];

export async function placeGroup(
  link: Link,
  keys: GroupKeys,
  group: string,
  verb: "create" | "seek",
  start: WireStart,
): Promise<readonly [Placed, epoch: number]> {
  const reply = await link.script(GROUP, keys.list, [group, verb, startId(start), namesMessages(start) ? "1" : "0"]);
  if (reply === null) return ["no topic", 0];
  const [status, epoch] = reply as readonly [number, number];
  return [PLACED[status + 1] as Placed, epoch];
}

export async function dropGroup(link: Link, keys: GroupKeys, group: string): Promise<void> {
  await link.script(DROP_GROUP, keys.list, [group]);
}

export interface GroupState {
  readonly floor: string;
  /** Entries of the stream that it has not read; −1 where that is not known. */
  readonly unread: number;
  readonly pending: number;
  /** Given back, in the inbox, delayed. */
  readonly kept: number;
  readonly pendingInbox: number;
  /** The oldest entry that is not acknowledged, or "". */
  readonly oldest: string;
}

export async function groupState(link: Link, keys: GroupKeys, group: string): Promise<GroupState | "no topic" | "no group"> {
  const reply = await link.script(STATE, keys.list, [group]);
  if (reply === null || reply === -1) return reply === null ? "no topic" : "no group";
  const [floor, unread, pending, kept, pendingInbox, oldest] = reply as never as [Buffer, number, number, number, number, Buffer];
  return { floor: String(floor), unread, pending, kept, pendingInbox, oldest: String(oldest) };
}
