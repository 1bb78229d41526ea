import type { Client } from "../client.ts";
import { type Handed, handOut, MESSAGE, type MessageRow, type Ownership } from "../mapping.ts";
import { SEQ_MASK } from "./schema.ts";

/** Who claims, and how much. `due`: the end of the lease as the file has it; `lost`: told of what retention took while it was given back. */
export type Claimant = Readonly<Record<"group" | "owner" | "next" | "last" | "floor" | "now" | "due" | "max", number>> &
  Readonly<{ topic: Ownership; inbox: Ownership; lost: (seq: number) => void }>;
export type Member = Readonly<Record<"group" | "owner" | "inbox", number>>;
type Spot = Readonly<{ log: number; seq: number }>;

/** Messages that one claim looks at, and bytes after which it ends: what keeps a transaction short. */
const LOOK = 4_000;
const BYTES = 8 * 2 ** 20;

const SPOT = `pos >> 44 AS log, pos & ${SEQ_MASK} AS seq`;
const AT = "grp = ?1 AND pos = (?2 << 44) + ?3";
const ALIVE = "(m.expires IS NULL OR m.expires > ?6)";
const KEY = "substr(m.data, 1, m.klen)";
const OF_KEY = (key: string): string => `EXISTS (SELECT 1 FROM claims c WHERE c.grp = ?1 AND c.key = ${key} AND c.owner`;
const ELSEWHERE = (key: string): string => `(${OF_KEY(key)} < ?2) OR ${OF_KEY(key)} > ?2))`;
const NEW = `FROM messages m WHERE m.pos BETWEEN (?3 << 44) + ?4 AND (?3 << 44) + ?5 AND m.lane = 0 AND ${ALIVE}`;
const BLOCKED = `m.klen IS NOT NULL AND (${ELSEWHERE(KEY)} OR ${OF_KEY(KEY)} IS NULL)) AS blocked`;
const READ_NEW = `SELECT ${MESSAGE}, ${BLOCKED} ${NEW} ORDER BY m.pos LIMIT ${LOOK}`;
const TAKE_NEW = `INSERT INTO claims SELECT ?1, m.pos, ${KEY}, 0, ?2, ?7, ?8, 1, 0 ${NEW}`;
const TAKE_OR_PARK = `WITH n AS MATERIALIZED (SELECT m.pos, ${KEY} AS key, ${BLOCKED} ${NEW})
  INSERT INTO claims SELECT ?1, pos, key, 0, iif(blocked, NULL, ?2), iif(blocked, NULL, ?7), iif(blocked, NULL, ?8), NOT blocked, 0 FROM n`;
const ADVANCE = "UPDATE groups SET next = ?2 WHERE id = ?1";
const EXPIRE = `UPDATE claims SET owner = NULL, token = NULL
  WHERE grp = ?1 AND lane IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) AND due <= ?2 AND owner IS NOT NULL`;
const READY = `SELECT ${SPOT}, key FROM claims WHERE grp = ?1 AND lane = ?2 AND due <= ?3 AND owner IS NULL ORDER BY due, pos LIMIT ?4`;
const FIRST_OF_KEY = `SELECT ${SPOT}, ${ELSEWHERE("?3")} AS busy FROM claims WHERE grp = ?1 AND key = ?3 AND owner IS NULL ORDER BY pos LIMIT 1`;
const PARK = `UPDATE claims SET due = NULL WHERE ${AT}`;
const READ = `SELECT ${MESSAGE} FROM messages m WHERE m.pos = (?2 << 44) + ?3 AND ${ALIVE.replace("?6", "?1")}`;
const OWN = `UPDATE claims SET owner = ?4, token = ?5, due = ?6, deliveries = deliveries + 1 WHERE ${AT} RETURNING deliveries, failures`;
const DROP_MESSAGE = "DELETE FROM messages WHERE pos BETWEEN (?1 << 44) + ?2 AND (?1 << 44) + ?3";

/**
 * Hands out up to `max` messages: the most urgent first, what came back before what is new. A key that another member has, or that has an
 * earlier claim, is passed over: its message is parked, and ready again when the key is free.
 */
export function claim(sql: Client, who: Claimant): Handed[] {
  const out: Handed[] = [];
  sql.run(EXPIRE, who.group, who.now);
  for (let lane = 9; lane >= 0; lane--) {
    // Each round takes, drops or parks all it has read, so the next one reads others.
    for (let more = true; more && out.length < who.max; ) {
      const ready = sql.all<Spot & { key: Uint8Array | null }>(READY, who.group, lane, who.now, who.max - out.length);
      more = ready.length === who.max - out.length;
      for (const { log, seq, key } of ready) {
        const first = key === null ? undefined : sql.one<Spot & { busy: number }>(FIRST_OF_KEY, who.group, who.owner, key);
        const free = first === undefined || (first.busy === 0 && first.log === log && first.seq === seq);
        if (free) takeBack(sql, who, { log, seq }, out);
        else sql.run(PARK, who.group, log, seq);
      }
    }
  }
  takeNew(sql, who, out);
  return out;
}

/** Hands out a claim that is there already. */
function takeBack(sql: Client, who: Claimant, { log, seq }: Spot, out: Handed[]): void {
  const ownership = log === who.inbox.log ? who.inbox : who.topic;
  const row = sql.one<MessageRow>(READ, who.now, log, seq);
  if (row === undefined) {
    // Its time to live is over, or a newer message of its key has replaced it: as wished. What retention took is a loss.
    sql.run(`DELETE FROM claims WHERE ${AT}`, who.group, log, seq);
    if (ownership === who.inbox) sql.run(DROP_MESSAGE, log, seq, seq);
    else if (seq < who.floor) who.lost(seq);
    return;
  }
  const counts = sql.one<{ deliveries: number; failures: number }>(OWN, who.group, log, seq, who.owner, ownership.token, who.due);
  if (counts !== undefined) out.push(handOut(row, ownership, counts.deliveries, counts.failures));
}

function takeNew(sql: Client, { group, owner, topic, next, last, now, due, max }: Claimant, out: Handed[]): void {
  if (next > last || out.length >= max) return;
  let [looked, blocked, bytes, seq] = [0, 0, 0, last];
  for (const row of sql.each<MessageRow & { blocked: number }>(READ_NEW, group, owner, topic.log, next, last, now)) {
    looked++;
    if (row.blocked === 1) blocked++;
    else {
      bytes += row.data.length;
      out.push(handOut(row, topic, 1, 0));
    }
    seq = row.seq;
    if (looked === LOOK || out.length >= max || bytes >= BYTES) break;
    // Unless a bound ends it here, all up to `last` has been seen: what is missing has expired, or is urgent and was offered.
    seq = last;
  }
  if (looked > 0) sql.run(blocked > 0 ? TAKE_OR_PARK : TAKE_NEW, group, owner, topic.log, next, seq, now, topic.token, due);
  sql.run(ADVANCE, group, seq + 1);
}

const OURS = `${AT} AND owner = ?4 AND token = ?5`;
const SPAN = "grp = ?1 AND pos BETWEEN (?2 << 44) + ?3 AND (?2 << 44) + ?6 AND owner = ?4 AND token = ?5";
const NACK = `UPDATE claims SET owner = NULL, token = NULL, due = ?6, failures = ?7 WHERE ${OURS}`;

/** Deletes the claims of what is still this member's; one verdict per delivery. A run of neighbours goes in one statement. */
export function acknowledge(sql: Client, { group, owner, inbox }: Member, deliveries: readonly Handed[]): boolean[] {
  const order = deliveries.map((handed, n) => ({ handed, n })).sort((a, b) => a.handed.token - b.handed.token || a.handed.seq - b.handed.seq);
  const done = deliveries.map(() => false);
  for (let from = 0, to = 1; from < order.length; from = to++) {
    const { log, seq, token } = (order[from] as (typeof order)[0]).handed;
    const follows = ({ handed }: (typeof order)[0]): boolean => handed.log === log && handed.token === token && handed.seq === seq + to - from;
    for (let next = order[to]; next !== undefined && follows(next); next = order[to]) to++;
    const run = order.slice(from, to);
    const whole = run.length > 1 && sql.one<{ n: number }>(`SELECT count(*) AS n FROM claims WHERE ${SPAN}`, group, log, seq, owner, token, seq + run.length - 1)?.n === run.length;
    if (whole) sql.run(`DELETE FROM claims WHERE ${SPAN}`, group, log, seq, owner, token, seq + run.length - 1);
    for (const { handed, n } of run) {
      done[n] = whole || sql.run(`DELETE FROM claims WHERE ${OURS}`, group, log, handed.seq, owner, token) === 1;
      if (done[n] && log === inbox) sql.run(DROP_MESSAGE, log, handed.seq, handed.seq);
    }
  }
  return done;
}

/** Gives one back until `due`; false if it is no longer this member's. */
export function giveBack(sql: Client, { group, owner }: Member, { log, seq, token }: Handed, due: number, failures: number): boolean {
  return sql.run(NACK, group, log, seq, owner, token, due, failures) === 1;
}

/** Moves the end of a lease; false if it is no longer this member's. */
export function extendLease(sql: Client, { group, owner }: Member, { log, seq, token }: Handed, due: number): boolean {
  return sql.run(`UPDATE claims SET due = ?6 WHERE ${OURS}`, group, log, seq, owner, token, due) === 1;
}

/** Gives back everything that a member has; true if there was something. */
export function releaseAll(sql: Client, { group, owner }: Member, now: number): boolean {
  return sql.run("UPDATE claims SET owner = NULL, token = NULL, due = ?3 WHERE grp = ?1 AND owner = ?2", group, owner, now) > 0;
}

/** Whether the group has something to hand out that was blocked before. */
export function anyFreed(sql: Client, group: number): boolean {
  return sql.one("SELECT 1 FROM claims WHERE grp = ?1 AND lane = 0 AND due = 0 AND owner IS NULL LIMIT 1", group) !== undefined;
}
