import type { Client } from "../client.ts";
import { type Handed, handOut, MESSAGE, type MessageRow, type Ownership } from "../mapping.ts";
import { SEQ_MASK } from "./schema.ts";
import type { Loss } from "./start.ts";

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
// The planner has no statistics, and would rather walk all of a group's claims: indexes are named.
const OF_KEY = (index: string, key: string): string =>
  `EXISTS (SELECT 1 FROM claims c INDEXED BY ${index} WHERE c.grp = ?1 AND c.key = ${key}`;
const ELSEWHERE = (key: string): string => `(${OF_KEY("busy", key)} AND c.owner < ?2) OR ${OF_KEY("busy", key)} AND c.owner > ?2))`;
const NEW = `FROM messages m WHERE m.pos BETWEEN (?3 << 44) + ?4 AND (?3 << 44) + ?5 AND m.lane = 0 AND ${ALIVE}`;
const BLOCKED = `m.klen IS NOT NULL AND (${ELSEWHERE(KEY)} OR ${OF_KEY("idle", KEY)} AND c.owner IS NULL)) AS blocked`;
const READ_NEW = `SELECT ${MESSAGE}, ${BLOCKED} ${NEW} ORDER BY m.pos LIMIT ${LOOK}`;
const TAKE_NEW = `INSERT INTO claims SELECT ?1, m.pos, ${KEY}, 0, ?2, ?7, ?8, 1, 0 ${NEW}`;
const TAKE_OR_PARK = `WITH n AS MATERIALIZED (SELECT m.pos, ${KEY} AS key, ${BLOCKED} ${NEW})
  INSERT INTO claims SELECT ?1, pos, key, 0, iif(blocked, NULL, ?2), iif(blocked, NULL, ?7), iif(blocked, NULL, ?8), NOT blocked, 0 FROM n`;
const ADVANCE = "UPDATE groups SET next = ?2 WHERE id = ?1";
const EXPIRE = `UPDATE claims INDEXED BY due SET owner = NULL, token = NULL
  WHERE grp = ?1 AND lane IN (0, 1, 2, 3, 4, 5, 6, 7, 8, 9) AND due <= ?2 AND owner IS NOT NULL`;
const READY = `SELECT ${SPOT}, key FROM claims INDEXED BY due WHERE grp = ?1 AND lane = ?2 AND due <= ?3 AND owner IS NULL ORDER BY due, pos LIMIT ?4`;
const FIRST_OF_KEY = `SELECT ${SPOT}, ${ELSEWHERE("?3")} AS busy FROM claims INDEXED BY idle WHERE grp = ?1 AND key = ?3 AND owner IS NULL ORDER BY pos LIMIT 1`;
const QUEUE = `SELECT ${SPOT}, due FROM claims INDEXED BY idle WHERE grp = ?1 AND key = ?2 AND owner IS NULL ORDER BY pos LIMIT ?3`;
const PARK = `UPDATE claims SET due = NULL WHERE ${AT} AND owner IS NULL`;
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
      for (const { key, ...spot } of ready) {
        if (key === null) takeBack(sql, who, spot, out);
        else if (out.length < who.max) takeKey(sql, who, spot, key, out);
      }
    }
  }
  takeNew(sql, who, out);
  return out;
}

/** If the key is free for this member, and this its first claim: all of the key that waits goes along, up to one that is not due. */
function takeKey(sql: Client, who: Claimant, { log, seq }: Spot, key: Uint8Array, out: Handed[]): void {
  const first = sql.one<Spot & { busy: number }>(FIRST_OF_KEY, who.group, who.owner, key);
  if (first?.busy === 1 || first?.log !== log || first.seq !== seq) sql.run(PARK, who.group, log, seq);
  else {
    for (const { due, ...spot } of sql.all<Spot & { due: number | null }>(QUEUE, who.group, key, who.max - out.length)) {
      if (due !== null && due > who.now) break;
      takeBack(sql, who, spot, out);
    }
  }
}

/** Hands out a claim that is there already. */
function takeBack(sql: Client, who: Claimant, { log, seq }: Spot, out: Handed[]): void {
  const ownership = log === who.inbox.log ? who.inbox : who.topic;
  const claimed = sql.one<{ deliveries: number; failures: number }>(OWN, who.group, log, seq, who.owner, ownership.token, who.due);
  const row = sql.one<MessageRow>(READ, who.now, log, seq);
  if (claimed !== undefined && row !== undefined) {
    out.push(handOut(row, ownership, claimed.deliveries, claimed.failures));
    return;
  }
  // Its time to live is over, or a newer message of its key has replaced it: as wished. What retention took is a loss.
  sql.run(`DELETE FROM claims WHERE ${AT}`, who.group, log, seq);
  if (ownership === who.inbox) sql.run(DROP_MESSAGE, log, seq, seq);
  else if (seq < who.floor) who.lost(seq);
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
  const order = deliveries
    .map((handed, n) => ({ handed, n }))
    .sort((a, b) => a.handed.token - b.handed.token || a.handed.seq - b.handed.seq);
  const done = deliveries.map(() => false);
  for (let from = 0, to = 1; from < order.length; from = to++) {
    const { log, seq, token } = (order[from] as (typeof order)[0]).handed;
    const follows = ({ handed }: (typeof order)[0]): boolean =>
      handed.log === log && handed.token === token && handed.seq === seq + to - from;
    for (let next = order[to]; next !== undefined && follows(next); next = order[to]) to++;
    const run = order.slice(from, to);
    const whole =
      run.length > 1 &&
      sql.one<{ n: number }>(`SELECT count(*) AS n FROM claims WHERE ${SPAN}`, group, log, seq, owner, token, seq + run.length - 1)?.n ===
        run.length;
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
  return (
    sql.one("SELECT 1 FROM claims INDEXED BY due WHERE grp = ?1 AND lane = 0 AND due = 0 AND owner IS NULL LIMIT 1", group) !== undefined
  );
}

/** What a reader needs to know before it claims. `due`: when a claim, `delay`: when a delayed message is next to be looked at. */
export type State = Readonly<Record<"epoch" | "next" | "last" | "floor" | "loss", number> & { due: number | null; delay: number | null }>;

const STATE = `SELECT g.epoch, g.next, l.last, l.floor, EXISTS (SELECT 1 FROM losses WHERE grp = g.id) AS loss,
  (SELECT min(due) FROM (SELECT min(due) AS due FROM delayed WHERE log = g.log UNION ALL SELECT min(due) FROM delayed WHERE log = g.inbox)) AS delay,
  (WITH lanes(n) AS (VALUES (0), (1), (2), (3), (4), (5), (6), (7), (8), (9))
    SELECT min((SELECT due FROM claims INDEXED BY due WHERE grp = g.id AND lane = n AND due >= 0 ORDER BY due LIMIT 1)) FROM lanes) AS due
  FROM groups g JOIN logs l ON l.id = g.log WHERE g.id = ?1`;
const LOSS = "DELETE FROM losses WHERE grp = ?1 RETURNING first, last, missing";
const EPOCH = "SELECT epoch FROM groups WHERE id = ?1";

/** What a member needs to know of its group; undefined if it was deleted. */
export function stateOf(sql: Client, group: number): State | undefined {
  return sql.one<State>(STATE, group);
}

/** Rises when the group is moved; undefined if it was deleted. */
export function epochOf(sql: Client, group: number): number | undefined {
  return sql.one<{ epoch: number }>(EPOCH, group)?.epoch;
}

/** When there will be something to claim; 0 for now. */
export function nextDue({ next, last, loss, due, delay }: State): number {
  const none = Number.POSITIVE_INFINITY;
  return next <= last || loss === 1 ? 0 : Math.min(due ?? none, delay ?? none);
}

/** What retention took of the group's messages since the last time, which is hereby forgotten. */
export function takeLoss(sql: Client, group: number): Loss | undefined {
  return sql.one<Loss>(LOSS, group);
}
