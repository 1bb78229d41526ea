import type { Client } from "../client.ts";
import { delivery, type Handed, type MessageRow, type Ownership } from "../mapping.ts";
import { LOG, SEQ } from "./schema.ts";

/** Who claims, and how much. */
export interface Claimant {
  readonly group: number;
  readonly owner: number;
  readonly topic: Ownership;
  readonly inbox: Ownership;
  readonly lanes: number;
  /** The topic's newest and oldest seq. */
  readonly last: number;
  readonly floor: number;
  readonly now: number;
  /** End of the lease, wall time as the file has it. */
  readonly due: number;
  readonly max: number;
  /** Told of a message that retention took while it was given back. */
  readonly lost: (seq: number) => void;
}

/** Messages that one claim looks at, and the bytes after which it ends: what keeps a transaction short. */
const LOOK = 4_000;
const BYTES = 8 * 2 ** 20;

const BUSY_ELSEWHERE = (key: string): string => `(EXISTS (SELECT 1 FROM claims c WHERE c.grp = ?1 AND c.key = ${key} AND c.owner < ?2)
  OR EXISTS (SELECT 1 FROM claims c WHERE c.grp = ?1 AND c.key = ${key} AND c.owner > ?2))`;
const WAITING = (key: string): string => `EXISTS (SELECT 1 FROM claims c WHERE c.grp = ?1 AND c.key = ${key} AND c.owner IS NULL)`;
const KEY = "substr(m.data, 1, m.klen)";
const BLOCKED = `m.klen IS NOT NULL AND (${BUSY_ELSEWHERE(KEY)} OR ${WAITING(KEY)})`;
const MESSAGE = `${SEQ} AS seq, id, published, klen, hlen, data`;
const FRONT = "SELECT next FROM fronts WHERE grp = ?1 AND lane = ?2";
const SET_FRONT = "UPDATE fronts SET next = ?3 WHERE grp = ?1 AND lane = ?2";
// Lane 0 is read along the log itself, the others by their index.
const range = (lane: number): string => `FROM messages m WHERE m.pos BETWEEN (?3 << 44) + ?4 AND (?3 << 44) + ?5
  AND m.lane = ${lane === 0 ? "0" : `${lane} AND m.lane > 0`} AND (m.expires IS NULL OR m.expires > ?6)`;
const NEXT = lanes((lane) => `SELECT ${MESSAGE}, ${BLOCKED} AS blocked ${range(lane)} ORDER BY m.pos LIMIT ${LOOK}`);
const HAND_OUT = lanes((lane) => `INSERT INTO claims SELECT ?1, m.pos, ${KEY}, m.lane, ?2, ?7, ?8, 1, 0 ${range(lane)}`);
const HAND_OUT_OR_PARK = `WITH found AS MATERIALIZED (SELECT m.pos, ${KEY} AS key, ${BLOCKED} AS blocked ${range(0)})
  INSERT INTO claims SELECT ?1, pos, key, 0, iif(blocked, NULL, ?2), iif(blocked, NULL, ?7), iif(blocked, NULL, ?8), iif(blocked, 0, 1), 0
  FROM found`;

const EXPIRE =
  "UPDATE claims SET owner = NULL, token = NULL WHERE grp = ?1 AND lane = ?2 AND due <= ?3 AND owner IS NOT NULL RETURNING key";
const READY = `SELECT ${LOG} AS log, ${SEQ} AS seq, key FROM claims WHERE grp = ?1 AND lane = ?2 AND due <= ?3 AND owner IS NULL ORDER BY due LIMIT ?4`;
const FIRST = `SELECT ${LOG} AS log, ${SEQ} AS seq, ${BUSY_ELSEWHERE("?3")} AS busy FROM claims
  WHERE grp = ?1 AND key = ?3 AND owner IS NULL ORDER BY pos LIMIT 1`;
const QUEUE = `SELECT ${LOG} AS log, ${SEQ} AS seq, due FROM claims WHERE grp = ?1 AND key = ?2 AND owner IS NULL ORDER BY pos LIMIT ?3`;
const PARK = "UPDATE claims SET due = NULL WHERE grp = ?1 AND pos = (?2 << 44) + ?3 AND owner IS NULL";
const UNPARK = `UPDATE claims SET due = 0 WHERE grp = ?1 AND due IS NULL
  AND pos = (SELECT pos FROM claims WHERE grp = ?1 AND key = ?2 AND owner IS NULL ORDER BY pos LIMIT 1)
  AND NOT EXISTS (SELECT 1 FROM claims WHERE grp = ?1 AND key = ?2 AND owner IS NOT NULL)`;
const ANY_PARKED = "SELECT 1 FROM claims WHERE grp = ?1 AND lane = 0 AND due IS NULL LIMIT 1";
const READ = `SELECT ${MESSAGE} FROM messages WHERE pos = (?1 << 44) + ?2 AND (expires IS NULL OR expires > ?3)`;
const THERE = "SELECT 1 FROM messages WHERE pos = (?1 << 44) + ?2";
const OWN = `UPDATE claims SET owner = ?4, token = ?5, due = ?6, deliveries = deliveries + 1 WHERE grp = ?1 AND pos = (?2 << 44) + ?3
  RETURNING deliveries, failures`;
const DROP = "DELETE FROM claims WHERE grp = ?1 AND pos = (?2 << 44) + ?3";
const DROP_MESSAGE = "DELETE FROM messages WHERE pos = (?1 << 44) + ?2";

function lanes(sql: (lane: number) => string): readonly string[] {
  return Array.from({ length: 10 }, (_, lane) => sql(lane));
}

interface Spot {
  readonly log: number;
  readonly seq: number;
}

interface Candidate extends Spot {
  readonly key: Uint8Array | null;
}

/**
 * Hands out up to `max` messages: of the highest priority first, and in each what came back before what is new. A key that any other
 * member has, or that has an earlier claim, is passed over: its message is parked and offered again when the key is free.
 */
export function claim(sql: Client, who: Claimant): Handed[] {
  const out: Handed[] = [];
  for (let lane = 9; lane >= 0 && out.length < who.max; lane--) {
    if ((who.lanes & (1 << lane)) === 0) continue;
    const keys = sql.all<{ key: Uint8Array | null }>(EXPIRE, who.group, lane, who.now);
    if (keys.length > 0)
      unpark(
        sql,
        who.group,
        keys.map(({ key }) => key),
      );
    takeReady(sql, who, lane, out);
    takeNew(sql, who, lane, out);
  }
  return out;
}

function takeNew(sql: Client, who: Claimant, lane: number, out: Handed[]): void {
  const { group, owner, topic, last, now, max } = who;
  const next = sql.one<{ next: number }>(FRONT, group, lane)?.next ?? last + 1;
  if (next > last || out.length >= max) return;
  let [blocked, looked, bytes, seq] = [0, 0, 0, next - 1];
  for (const row of sql.each<MessageRow & { blocked: number }>(NEXT[lane] ?? "", group, owner, topic.log, next, last, now)) {
    seq = row.seq;
    looked++;
    if (row.blocked === 1) blocked++;
    else {
      out.push(delivery(row, topic, 1, 0));
      bytes += row.data.length;
      if (out.length >= max || bytes >= BYTES) break;
    }
  }
  // The end was reached, not a bound: what is missing up to `last` has expired or is in another lane.
  if (looked < LOOK && out.length < max && bytes < BYTES) seq = last;
  const statement = blocked === 0 ? (HAND_OUT[lane] ?? "") : HAND_OUT_OR_PARK;
  if (looked > 0) sql.run(statement, group, owner, topic.log, next, seq, now, topic.token, who.due);
  sql.run(SET_FRONT, group, lane, seq + 1);
}

function takeReady(sql: Client, who: Claimant, lane: number, out: Handed[]): void {
  // Each round takes, drops or parks what it has read, so the next reads others.
  for (let more = true; more && out.length < who.max; ) {
    const limit = who.max - out.length;
    const ready = sql.all<Candidate>(READY, who.group, lane, who.now, limit);
    for (const candidate of ready) {
      if (out.length >= who.max) return;
      if (candidate.key === null) take(sql, who, candidate, out);
      else takeKey(sql, who, candidate, candidate.key, out);
    }
    more = ready.length === limit;
  }
}

function takeKey(sql: Client, who: Claimant, { log, seq }: Spot, key: Uint8Array, out: Handed[]): void {
  const { group, owner, now, max } = who;
  const first = sql.one<Spot & { busy: number }>(FIRST, group, owner, key);
  if (first === undefined) return;
  if (first.busy === 1 || first.log !== log || first.seq !== seq) {
    sql.run(PARK, group, log, seq);
    return;
  }
  // The key is free for this member: all of it that waits goes along, up to one that is not due.
  let dropped = false;
  for (const spot of sql.all<Spot & { due: number | null }>(QUEUE, group, key, max - out.length)) {
    if (spot.due !== null && spot.due > now) break;
    if (!take(sql, who, spot, out)) dropped = true;
  }
  if (dropped) unpark(sql, group, [key]);
}

/** Hands out a claim that is there already; false if its message is not there any more, and so the claim neither. */
function take(sql: Client, who: Claimant, { log, seq }: Spot, out: Handed[]): boolean {
  const ownership = log === who.topic.log ? who.topic : who.inbox;
  const row = sql.one<MessageRow>(READ, log, seq, who.now);
  if (row !== undefined) {
    const counts = sql.one<{ deliveries: number; failures: number }>(OWN, who.group, log, seq, who.owner, ownership.token, who.due);
    out.push(delivery(row, ownership, counts?.deliveries ?? 1, counts?.failures ?? 0));
    return true;
  }
  // Its time to live is over, or a newer one of its key has replaced it: that is as wished. Retention is a loss.
  sql.run(DROP, who.group, log, seq);
  if (log === who.inbox.log) sql.run(DROP_MESSAGE, log, seq);
  else if (seq < who.floor && sql.one(THERE, log, seq) === undefined) who.lost(seq);
  return false;
}

/** Offers again what was parked behind these keys, where they are free now. True if there was something. */
export function unpark(sql: Client, group: number, keys: Iterable<Uint8Array | null | undefined>): boolean {
  if (sql.one(ANY_PARKED, group) === undefined) return false;
  const done = new Set<string>();
  let found = false;
  for (const key of keys) {
    if (key === null || key === undefined) continue;
    const text = Buffer.from(key.buffer, key.byteOffset, key.length).toString("latin1");
    if (done.has(text)) continue;
    done.add(text);
    if (sql.run(UNPARK, group, key) > 0) found = true;
  }
  return found;
}

const SPAN = "grp = ?1 AND pos BETWEEN (?2 << 44) + ?3 AND (?2 << 44) + ?4 AND owner = ?5 AND token = ?6";
const ONE = "grp = ?1 AND pos = (?2 << 44) + ?3 AND owner = ?4 AND token = ?5";
const COUNT_SPAN = `SELECT count(*) AS n FROM claims WHERE ${SPAN}`;
const ACK_SPAN = `DELETE FROM claims WHERE ${SPAN}`;
const ACK_ONE = `DELETE FROM claims WHERE ${ONE}`;
const NACK = `UPDATE claims SET owner = NULL, token = NULL, due = ?6, failures = ?7 WHERE ${ONE}`;
const EXTEND = `UPDATE claims SET due = ?6 WHERE ${ONE}`;
const RELEASE = "UPDATE claims SET owner = NULL, token = NULL, due = ?3 WHERE grp = ?1 AND owner = ?2 RETURNING key";

export interface Member {
  readonly group: number;
  readonly owner: number;
  readonly inbox: number;
}

/** Deletes the claims of what is still this member's; one verdict per delivery. Runs of neighbours go in one statement. */
export function acknowledge(sql: Client, { group, owner, inbox }: Member, deliveries: readonly Handed[]): boolean[] {
  const order = deliveries.map((_, n) => n).sort((a, b) => compare(deliveries[a] as Handed, deliveries[b] as Handed));
  const done = new Array<boolean>(deliveries.length).fill(false);
  for (let from = 0, to = 1; from < order.length; from = to, to++) {
    const first = deliveries[order[from] as number] as Handed;
    const { log, seq, token } = first;
    while (to < order.length && follows(first, deliveries[order[to] as number] as Handed, to - from)) to++;
    const length = to - from;
    const values = [group, log, seq, seq + length - 1, owner, token] as const;
    if (length > 1 && sql.one<{ n: number }>(COUNT_SPAN, ...values)?.n === length) {
      sql.run(ACK_SPAN, ...values);
      for (let n = from; n < to; n++) done[order[n] as number] = true;
    } else {
      for (let n = from; n < to; n++) done[order[n] as number] = sql.run(ACK_ONE, group, log, seq + n - from, owner, token) === 1;
    }
    if (log === inbox) for (let n = from; n < to; n++) if (done[order[n] as number]) sql.run(DROP_MESSAGE, log, seq + n - from);
  }
  return done;
}

function compare(a: Handed, b: Handed): number {
  return a.log - b.log || a.token - b.token || a.seq - b.seq;
}

function follows(first: Handed, next: Handed, by: number): boolean {
  return next.log === first.log && next.token === first.token && next.seq === first.seq + by;
}

/** Gives one back, due at `due`; false if it is no longer this member's. */
export function giveBack(sql: Client, { group, owner }: Member, { log, seq, token }: Handed, due: number, failures: number): boolean {
  return sql.run(NACK, group, log, seq, owner, token, due, failures) === 1;
}

/** Moves the end of a lease; false if it is no longer this member's. */
export function extendLease(sql: Client, { group, owner }: Member, { log, seq, token }: Handed, due: number): boolean {
  return sql.run(EXTEND, group, log, seq, owner, token, due) === 1;
}

/** Gives back everything that a member has. */
export function releaseAll(sql: Client, { group, owner }: Omit<Member, "inbox">, now: number): boolean {
  const keys = sql.all<{ key: Uint8Array | null }>(RELEASE, group, owner, now);
  unpark(
    sql,
    group,
    keys.map(({ key }) => key),
  );
  return keys.length > 0;
}
