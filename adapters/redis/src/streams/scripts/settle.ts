import type { Nack } from "brokerkit/driver";
import type { Link, Reply, Script } from "../../client.ts";
import { compareIds } from "../mapping.ts";
import type { EntryDelivery } from "./entry.ts";
import type { GroupKeys, LaneKeys } from "./keys.ts";
import { LIBRARY, PARK, script } from "./script.ts";

/** Whose deliveries are settled; of another consumer or epoch there are none. */
export interface Owner {
  readonly keys: GroupKeys;
  readonly group: string;
  readonly consumer: string;
  readonly epoch: number;
}

/**
 * Acknowledges what this consumer still owns, and nothing else. KEYS stream, meta, notes.
 * ARGV group, consumer, epoch, lowest id, highest id, 1 for an inbox, 1 to look at each id, then ids; `<id>*<deliveries>` where it was
 * delivered before. Answers one character per id: 1 done, 0 not ours.
 *
 * Looking at each id costs five times the ack. It is spared where nobody else has anything pending between the lowest and the highest
 * id and we have at least as much pending as is acknowledged: then all of it is ours.
 */
const ACK: Script = script(
  LIBRARY,
  PARK,
  `
local k, group, me, n, mine, alone = KEYS[1], ARGV[1], ARGV[2], #ARGV - 7, 0, ARGV[7] == '0'
if tonumber(c('HGET', KEYS[2], 'epoch:' .. group) or 0) ~= tonumber(ARGV[3]) then return string.rep('0', n) end
if alone then
  for _, row in ipairs(c('XPENDING', k, group)[4] or {}) do
    if row[1] == me then mine = tonumber(row[2])
    elseif alone and #c('XPENDING', k, group, ARGV[4], ARGV[5], 1, row[1]) > 0 then alone = false end
  end
end
local function settle(...)
  c('XACK', k, group, ...)
  if ARGV[6] == '1' then c('XDEL', k, ...) end
  if c('EXISTS', KEYS[3]) == 1 then c('HDEL', KEYS[3], ...) end
end
if alone and mine >= n then
  settle(unpack(ARGV, 8))
  return string.rep('1', n)
end
local ours, said = {}, {}
for i = 8, #ARGV do
  local id, deliveries = string.match(ARGV[i], '^(.-)%*(%d+)$')
  id = id or ARGV[i]
  local yes = owned(k, group, me, id, tonumber(deliveries or 1))
  if yes then ours[#ours + 1] = id end
  said[#said + 1] = yes and '1' or '0'
end
if #ours > 0 then settle(unpack(ours)) end
return table.concat(said)
`,
);

/**
 * Gives deliveries back for later. KEYS stream, meta, notes, due, wake-up stream. ARGV group, consumer, epoch, then id, deliveries, delayMs, failures
 * for each. Answers as ACK does.
 */
const NACK: Script = script(
  LIBRARY,
  PARK,
  `
local k, group, me, said, some = KEYS[1], ARGV[1], ARGV[2], {}, false
evenWhenFull(KEYS[3])
local same = tonumber(c('HGET', KEYS[2], 'epoch:' .. group) or 0) == tonumber(ARGV[3])
for i = 4, #ARGV, 4 do
  local id, deliveries = ARGV[i], tonumber(ARGV[i + 1])
  local yes = same and owned(k, group, me, id, deliveries)
  if yes then park(k, KEYS[4], KEYS[3], group, id, deliveries, ARGV[i + 3], tonumber(ARGV[i + 2])) end
  some = some or yes
  said[#said + 1] = yes and '1' or '0'
end
if some then wake(KEYS[5]) end
return table.concat(said)
`,
);

/**
 * Makes leases end \`ms\` from now. KEYS stream, meta, notes. ARGV group, consumer, epoch, ms, own lease ms, then id, deliveries for each.
 * Answers as ACK does, and 2 for an entry that was removed from the stream while it was held: it can't be delivered again.
 * Idle time can't be set below 0, so what goes beyond the lease is noted beside it.
 */
const EXTEND: Script = script(
  LIBRARY,
  PARK,
  `
local k, group, me, ms, lease, said = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), {}
local same = tonumber(c('HGET', KEYS[2], 'epoch:' .. group) or 0) == tonumber(ARGV[3])
evenWhenFull(KEYS[3])
for i = 6, #ARGV, 2 do
  local id, deliveries = ARGV[i], tonumber(ARGV[i + 1])
  local answer = '0'
  if same and owned(k, group, me, id, deliveries) then
    local kept = c('XCLAIM', k, group, me, 0, id, 'IDLE', math.max(0, lease - ms), 'JUSTID')[1]
    answer = kept and '1' or '2'
    if kept and ms > lease then
      local failures = noteOf(KEYS[3], id)
      c('HSET', KEYS[3], id, string.format('%d %d %.0f', failures, deliveries, now + ms))
    end
  end
  said[#said + 1] = answer
end
return table.concat(said)
`,
);

/**
 * Hands back everything that these consumers have pending and removes them, and what they owned alone. KEYS as GroupKeys lists them.
 * ARGV group, then consumers. Deleting a consumer deletes what it has pending, so it is emptied first, in the same script.
 */
const LEAVE: Script = script(
  LIBRARY,
  PARK,
  `
local group, some = ARGV[1], false
evenWhenFull(KEYS[1])
local function empty(k, due, notes, consumer)
  if c('EXISTS', k) == 0 or not groupOf(k, group) then return end
  while true do
    local rows = c('XPENDING', k, group, '-', '+', 1000, consumer)
    for _, row in ipairs(rows) do
      park(k, due, notes, group, row[1], row[4], noteOf(notes, row[1]), 0)
      some = true
    end
    if #rows < 1000 then break end
  end
  c('XGROUP', 'DELCONSUMER', k, group, consumer)
end
for i = 2, #ARGV do
  empty(KEYS[2], KEYS[4], KEYS[5], ARGV[i])
  empty(KEYS[6], KEYS[8], KEYS[9], ARGV[i])
  c('UNLINK', KEYS[10] .. ':' .. ARGV[i])
  if c('HGET', KEYS[1], 'owner:' .. group) == ARGV[i] then c('HDEL', KEYS[1], 'owner:' .. group) end
end
if some then wake(KEYS[10]) end
return 1
`,
);

/**
 * Makes a consumer the only owner of a topic for its group: whatever is pending of others is given back at once, to be handed out to it
 * first. KEYS as GroupKeys lists them. ARGV group, consumer, 1 to begin. Answers how many streams have more pending than one call takes, or
 * nil where another one has become the owner meanwhile.
 *
 * A stream of the owner's own stands for the ownership, and each read of an owner names it: as soon as another one has taken over, nothing
 * that the former owner has sent, or sends after a pause of any length, is assigned anything.
 */
const TAKE: Script = script(
  LIBRARY,
  PARK,
  `
local meta, group, me, field = KEYS[1], ARGV[1], ARGV[2], 'owner:' .. ARGV[1]
evenWhenFull(meta)
local owner = c('HGET', meta, field)
if owner ~= me and ARGV[3] ~= '1' then return false end
if owner ~= me then
  if owner then c('UNLINK', KEYS[10] .. ':' .. owner) end
  c('HSET', meta, field, me)
  c('XGROUP', 'CREATE', KEYS[10] .. ':' .. me, group, '$', 'MKSTREAM')
  wake(KEYS[10])
end
local function empty(k, due, notes)
  local rows = c('XPENDING', k, group, '-', '+', 1000)
  for _, row in ipairs(rows) do park(k, due, notes, group, row[1], row[4], noteOf(notes, row[1]), 0) end
  if #rows == 1000 then return 1 end
  for _, consumer in ipairs(c('XINFO', 'CONSUMERS', k, group)) do
    local name = map(consumer)['name']
    if string.sub(name, 1, 3) == 'bk:' then c('XGROUP', 'DELCONSUMER', k, group, name) end
  end
  return 0
end
return empty(KEYS[2], KEYS[4], KEYS[5]) + empty(KEYS[6], KEYS[8], KEYS[9])
`,
);

/** `exact`: a consumer's name alone does not say which delivery of an entry is meant. Resolves to one character per delivery. */
export function acknowledge(link: Link, owner: Owner, lane: LaneKeys, some: readonly EntryDelivery[], exact: boolean): Promise<Reply> {
  let [lowest, highest, each] = [some[0]?.entry ?? "", some[0]?.entry ?? "", exact];
  const ids = some.map(({ entry, deliveries }) => {
    if (compareIds(entry, highest) > 0) highest = entry;
    else if (compareIds(entry, lowest) < 0) lowest = entry;
    if (deliveries === 1) return entry;
    each = true;
    return `${entry}*${deliveries}`;
  });
  const inbox = lane === owner.keys.inbox ? "1" : "0";
  return link.script(
    ACK,
    [lane.stream, owner.keys.meta, lane.notes],
    [...ownerArgs(owner), lowest, highest, inbox, each ? "1" : "0", ...ids],
  );
}

export function giveBack(link: Link, owner: Owner, lane: LaneKeys, some: readonly EntryDelivery[], items: readonly Nack[]): Promise<Reply> {
  const of = new Map(items.map((item) => [item.delivery, item]));
  const args = some.flatMap((delivery) => {
    const { delayMs = 0, failures = 0 } = of.get(delivery) ?? {};
    return [delivery.entry, String(delivery.deliveries), String(Math.ceil(delayMs)), String(failures)];
  });
  return link.script(NACK, [lane.stream, owner.keys.meta, lane.notes, lane.due, owner.keys.wake], [...ownerArgs(owner), ...args]);
}

export function prolong(
  link: Link,
  owner: Owner,
  lane: LaneKeys,
  some: readonly EntryDelivery[],
  ms: number,
  leaseMs: number,
): Promise<Reply> {
  const args = some.flatMap(({ entry, deliveries }) => [entry, String(deliveries)]);
  return link.script(
    EXTEND,
    [lane.stream, owner.keys.meta, lane.notes],
    [...ownerArgs(owner), String(Math.ceil(ms)), String(leaseMs), ...args],
  );
}

export async function leave(link: Link, keys: GroupKeys, group: string, consumers: readonly string[]): Promise<void> {
  await link.script(LEAVE, keys.list, [group, ...consumers]);
}

/** Resolves when all is taken: to false where another consumer was the later one to take it. */
export async function takeOver(link: Link, keys: GroupKeys, group: string, consumer: string): Promise<boolean> {
  for (let begin = "1"; ; begin = "0") {
    const rest = await link.script(TAKE, keys.list, [group, consumer, begin]);
    if (rest === null || rest === 0) return rest === 0;
  }
}

function ownerArgs({ group, consumer, epoch }: Owner): string[] {
  return [group, consumer, String(epoch)];
}
