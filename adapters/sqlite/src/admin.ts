import { setImmediate } from "node:timers/promises";
import { type Admin, type Cut, driverError, type TopicInfo, type TopicSpec, type WireLag, type WireStart } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { beginning } from "./cursor.ts";
import { notFound } from "./errors.ts";
import { cutAt } from "./mapping.ts";
import { findLog, type Log, promote, saveLog } from "./scripts/append.ts";
import { sweep, trim } from "./scripts/retention.ts";
import { MAX_LOG, SEQ_MASK } from "./scripts/schema.ts";
import type { GroupRow } from "./subscription.ts";

const OF_LOG = `pos BETWEEN (?1 << 44) AND (?1 << 44) + ${SEQ_MASK}`;
const UNREAD = `FROM groups g JOIN messages m ON m.pos BETWEEN (g.log << 44) + g.next AND (g.log << 44) + ${SEQ_MASK}
  WHERE g.id = ?1 AND m.lane = 0 AND (m.expires IS NULL OR m.expires > ?2)`;
const CLAIMED = `SELECT count(*) AS n, ifnull(sum(c.owner IS NOT NULL AND c.due > ?2), 0) AS inFlight, min(m.published) AS oldest
  FROM claims c LEFT JOIN messages m ON m.pos = c.pos WHERE c.grp = ?1 AND (c.owner IS NOT NULL OR m.expires IS NULL OR m.expires > ?2)`;
/** Rows that one transaction of upkeep removes at the most, so that nobody waits long for it. */
const PIECE = 1_000;
const DELETED = "SELECT id FROM logs WHERE topic IS NULL AND id NOT IN (SELECT inbox FROM groups) LIMIT 1";
const REMOVE = [
  `DELETE FROM messages WHERE pos IN (SELECT pos FROM messages WHERE ${OF_LOG} LIMIT ${PIECE})`,
  `DELETE FROM claims WHERE (grp, pos) IN (SELECT grp, pos FROM claims WHERE grp NOT IN (SELECT id FROM groups) AND ?1 = ?1 LIMIT ${PIECE})`,
  `DELETE FROM dedupe WHERE (log, id) IN (SELECT log, id FROM dedupe WHERE log = ?1 LIMIT ${PIECE})`,
  `DELETE FROM latest WHERE (log, key) IN (SELECT log, key FROM latest WHERE log = ?1 LIMIT ${PIECE})`,
  "DELETE FROM delayed WHERE log = ?1",
  "DELETE FROM logs WHERE id = ?1",
];
