import type { Script } from "../../client.ts";
import { LIBRARY, script } from "./script.ts";

/**
 * Creates an empty stream and notes its settings. KEYS stream, meta. ARGV pairs of setting and value.
 * Answers 1 created, 0 existing (nothing altered). A key of another type is an error.
 */
export const CREATE: Script = script(`
local c, k = redis.call, KEYS[1]
if c('EXISTS', k) == 1 then
  c('XLEN', k)
  return 0
end
c('DEL', KEYS[2])
c('XGROUP', 'CREATE', k, 'bk:new', '$', 'MKSTREAM')
c('XGROUP', 'DESTROY', k, 'bk:new')
c('HSET', KEYS[2], 'version', 1, 'created', c('TIME')[1], unpack(ARGV))
return 1
`);

/**
 * Removes a stream with its groups and inboxes. KEYS as TopicKeys lists them.
 */
export const DROP: Script = script(
  LIBRARY,
  `
local k = KEYS[1]
if c('EXISTS', k) == 1 then
  for _, g in ipairs(c('XINFO', 'GROUPS', k)) do
    local name = map(g)['name']
    local inbox = k .. '.' .. name .. '.retry'
    for _, base in ipairs({ k .. ':' .. name, inbox .. ':' .. name }) do c('UNLINK', base .. ':due', base .. ':notes') end
    local wake = k .. ':' .. name .. ':wake'
    c('UNLINK', inbox, inbox .. ':delayed', wake, wake .. ':' .. (c('HGET', KEYS[2], 'owner:' .. name) or ''))
  end
end
return c('UNLINK', k, KEYS[2], KEYS[3], KEYS[4])
`,
);

/** KEYS stream, meta. Answers retention ms or "", the last id, then the names of the groups; nil without a stream. */
export const DESCRIBE: Script = script(
  LIBRARY,
  `
if c('EXISTS', KEYS[1]) == 0 then return false end
local answer = { c('HGET', KEYS[2], 'retentionMs') or '', info(KEYS[1]).last }
for _, g in ipairs(c('XINFO', 'GROUPS', KEYS[1])) do answer[#answer + 1] = map(g)['name'] end
return answer
`,
);

/** KEYS stream. ARGV highest id that counts. Answers the last id at or before it, or "" where there is none. */
export const END: Script = script(
  LIBRARY,
  `
if c('EXISTS', KEYS[1]) == 0 then return false end
local s = info(KEYS[1])
if not less(ARGV[1], s.last) then return s.last end
local e = c('XREVRANGE', KEYS[1], ARGV[1], '-', 'COUNT', 1)[1]
return e and e[1] or ''
`,
);
