import { driverError } from "brokerkit/driver";

/** Marks a file as brokerkit's ("brkt"), in the header field that SQLite has for this. */
const APPLICATION_ID = 0x62726b74;
/** Raised by every change of the tables below. A file with another number is refused, never guessed at. */
const SCHEMA_VERSION = 1;

/**
 * A message's `pos` is `log << 44 | seq`: one integer that is the row's key, so that a log is a range of it. 2^44 messages a log,
 * 2^19 logs a file. Beyond 2^53 JavaScript's numbers are not exact, so `pos` is made and taken apart in SQL only.
 */
export const SEQ_MASK: number = 2 ** 44 - 1;
export const MAX_LOG: number = 2 ** 19 - 1;

/**
 * logs      one per topic, and one per group's inbox (`topic` NULL). `last` is the newest seq, `floor` the oldest that retention has left,
 *           `gone` the time of the newest that it took, `at` the time of `last` (it never falls, whatever the wall clock does);
 *           `sparse`: what lies before a group can't be counted by subtraction (ttl, priority, compaction).
 * messages  the records, append-only. `data` is key, headers and body, cut by `klen` and `hlen`; `klen` NULL is no key, `hlen` NULL no
 *           body (a tombstone: then `data` is key and headers). `lane` is the priority.
 * groups    `next` is the seq to hand out next. What lies before it, and has no claim, is acknowledged. `epoch` rises when it is moved.
 * claims    the exceptions: what was handed out, came back, was passed over, is urgent or lies in the inbox, until it is acknowledged.
 *             handed out  owner, token, due = end of its lease
 *             ready       no owner, due passed      (came back, lease over, its key free again, urgent, inbox)
 *             delayed     no owner, due to come     (given back for later)
 *             parked      no owner, due NULL        (its key is busy or has an earlier claim)
 *           Of each key's claims without an owner the first is not parked, or another claim of the key is handed out: so nothing is
 *           forgotten. The triggers see to it: when a key becomes free, its first claim is ready again. Keyed claims have lane 0.
 * losses    what retention took before a group had it, until the group has been told.
 * delayed   published, not yet due: joins its log, and gets its seq, when it is.
 * dedupe    published ids within their window. `latest`: the newest seq of each key of a compacted topic.
 */
const FREE_KEY = (row: string, when: string): string => `WHEN ${when} AND ${row}.key IS NOT NULL
    AND EXISTS (SELECT 1 FROM claims INDEXED BY due WHERE grp = ${row}.grp AND lane = 0 AND due IS NULL)
    AND NOT EXISTS (SELECT 1 FROM claims INDEXED BY busy WHERE grp = ${row}.grp AND key = ${row}.key AND owner IS NOT NULL)
  BEGIN
    UPDATE claims SET due = 0 WHERE grp = ${row}.grp AND due IS NULL AND pos =
      (SELECT pos FROM claims INDEXED BY idle WHERE grp = ${row}.grp AND key = ${row}.key AND owner IS NULL ORDER BY pos LIMIT 1);
  END`;
export const SCHEMA: string = `
CREATE TABLE logs (id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT UNIQUE, last INTEGER NOT NULL DEFAULT 0,
  floor INTEGER NOT NULL DEFAULT 1, at INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT -1, bytes INTEGER NOT NULL DEFAULT 0,
  sparse INTEGER NOT NULL DEFAULT 0, keepMs INTEGER, keepBytes INTEGER, compact INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE messages (pos INTEGER PRIMARY KEY, lane INTEGER NOT NULL, at INTEGER NOT NULL, published INTEGER NOT NULL, expires INTEGER,
  id TEXT NOT NULL, klen INTEGER, hlen INTEGER, data BLOB NOT NULL) STRICT;
CREATE INDEX urgent ON messages (pos) WHERE lane > 0;
CREATE INDEX expiring ON messages (expires) WHERE expires IS NOT NULL;
CREATE TABLE groups (id INTEGER PRIMARY KEY AUTOINCREMENT, log INTEGER NOT NULL, name TEXT NOT NULL, inbox INTEGER NOT NULL,
  next INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, UNIQUE (log, name)) STRICT;
CREATE TABLE claims (grp INTEGER NOT NULL, pos INTEGER NOT NULL, key BLOB, lane INTEGER NOT NULL, owner INTEGER, token INTEGER,
  due INTEGER, deliveries INTEGER NOT NULL, failures INTEGER NOT NULL, PRIMARY KEY (grp, pos)) STRICT, WITHOUT ROWID;
CREATE INDEX due ON claims (grp, lane, due);
CREATE INDEX busy ON claims (grp, key, owner) WHERE key IS NOT NULL AND owner IS NOT NULL;
CREATE INDEX idle ON claims (grp, key) WHERE key IS NOT NULL AND owner IS NULL;
CREATE TRIGGER settled AFTER DELETE ON claims ${FREE_KEY("old", "old.owner IS NOT NULL")};
CREATE TRIGGER returned AFTER UPDATE OF owner ON claims ${FREE_KEY("new", "new.owner IS NULL")};
CREATE TABLE losses (grp INTEGER PRIMARY KEY, first INTEGER, last INTEGER NOT NULL, missing INTEGER) STRICT;
CREATE TABLE delayed (row INTEGER PRIMARY KEY, log INTEGER NOT NULL, due INTEGER NOT NULL, lane INTEGER NOT NULL, published INTEGER NOT NULL,
  expires INTEGER, id TEXT NOT NULL, klen INTEGER, hlen INTEGER, data BLOB NOT NULL, failures INTEGER NOT NULL) STRICT;
CREATE INDEX delays ON delayed (log, due);
CREATE TABLE dedupe (log INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER, expires INTEGER NOT NULL, PRIMARY KEY (log, id)) STRICT, WITHOUT ROWID;
CREATE INDEX forgotten ON dedupe (expires);
CREATE TABLE latest (log INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (log, key)) STRICT, WITHOUT ROWID;
PRAGMA application_id = ${APPLICATION_ID};
PRAGMA user_version = ${SCHEMA_VERSION};
`;

/** Whether a file is one of ours; false for an empty one. Throws for others, before anything is written to them. `read`: one number. */
export function isKnown(read: (sql: string) => number | undefined): boolean {
  const [id, version] = [read("PRAGMA application_id"), read("PRAGMA user_version")];
  if (id === 0 && version === 0 && read("SELECT 1 FROM sqlite_schema LIMIT 1") === undefined) return false;
  if (id !== APPLICATION_ID) throw driverError("INVALID_ARGUMENT", "it is another application's database, and was left as it is");
  if (version === SCHEMA_VERSION) return true;
  const what = `its format is ${version}, and this version of @brokerkit/sqlite reads ${SCHEMA_VERSION}`;
  throw driverError("UNSUPPORTED", `${what}: update the older of the two`);
}
