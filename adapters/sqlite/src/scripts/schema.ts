/** Marks a file as brokerkit's ("brkt"), in SQLite's own header field for this purpose. */
export const APPLICATION_ID = 0x62726b74;
/** Raised by every change of the tables below. A file with a higher number is refused, never guessed at. */
export const SCHEMA_VERSION = 1;

/**
 * A message's `pos` is `log << 44 | seq`: one integer that is the row's key, so that a log is a range of it. 2^44 messages a log,
 * 2^19 logs a file. Beyond 2^53 JavaScript's numbers are not exact, so `pos` is made and taken apart in SQL only.
 */
export const SEQ_MASK = 2 ** 44 - 1;
export const MAX_LOG: number = 2 ** 19 - 1;
/** SQL for the `seq` and the log of a `pos`. */
export const SEQ: string = `pos & ${SEQ_MASK}`;
export const LOG = "pos >> 44";

/**
 * logs      one per topic, and one per group's inbox (`topic` NULL). `last` is the newest seq, `floor` the oldest that retention has left,
 *           `gone` the time of the newest that it took, `at` the time of `last` (never falling, whatever the wall clock does),
 *           `lanes` the priorities used so far as bits, `holes` whether rows above `floor` may be missing (ttl, compaction).
 * messages  the logs' records, append-only. `lane` is the priority; `data` is key, headers and body, cut by `klen` and `hlen`;
 *           `klen` NULL is no key, `hlen` NULL no body (a tombstone, then `data` is key and headers).
 * fronts    per group and lane: the next seq to hand out. What lies before it and has no claim is acknowledged.
 * claims    the exceptions before a front, until they are acknowledged:
 *             handed out  owner, token, due = end of its lease
 *             ready       no owner, due passed      (given back, lease over, its key free again, inbox)
 *             delayed     no owner, due to come     (given back for later)
 *             parked      no owner, due NULL        (its key is busy or has an earlier claim)
 *           For each key with claims that nobody owns, the first of them is not parked, or some claim of the key is handed out: so
 *           nothing is forgotten. All keyed claims are in lane 0.
 * losses    what retention took before a group had it, until the group has been told.
 * delayed   published, not yet due: joins its log, and gets its seq, when it is.
 */
export const SCHEMA = `
CREATE TABLE meta (owners INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES (0);
CREATE TABLE logs (
  id INTEGER PRIMARY KEY AUTOINCREMENT, topic TEXT UNIQUE, last INTEGER NOT NULL DEFAULT 0, floor INTEGER NOT NULL DEFAULT 1,
  at INTEGER NOT NULL DEFAULT 0, gone INTEGER NOT NULL DEFAULT -1, bytes INTEGER NOT NULL DEFAULT 0, lanes INTEGER NOT NULL DEFAULT 1,
  holes INTEGER NOT NULL DEFAULT 0, keep_ms INTEGER, keep_bytes INTEGER, compact INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE groups (
  id INTEGER PRIMARY KEY AUTOINCREMENT, log INTEGER NOT NULL, name TEXT NOT NULL, inbox INTEGER NOT NULL,
  epoch INTEGER NOT NULL DEFAULT 0, UNIQUE (log, name)
) STRICT;
CREATE TABLE fronts (
  grp INTEGER NOT NULL, lane INTEGER NOT NULL, next INTEGER NOT NULL, PRIMARY KEY (grp, lane)
) STRICT, WITHOUT ROWID;
CREATE TABLE messages (
  pos INTEGER PRIMARY KEY, lane INTEGER NOT NULL, at INTEGER NOT NULL, published INTEGER NOT NULL, expires INTEGER,
  id TEXT NOT NULL, klen INTEGER, hlen INTEGER, data BLOB NOT NULL
) STRICT;
CREATE INDEX urgent ON messages (lane) WHERE lane > 0;
CREATE INDEX expiring ON messages (expires) WHERE expires IS NOT NULL;
CREATE TABLE claims (
  grp INTEGER NOT NULL, pos INTEGER NOT NULL, key BLOB, lane INTEGER NOT NULL, owner INTEGER, token INTEGER, due INTEGER,
  deliveries INTEGER NOT NULL, failures INTEGER NOT NULL, PRIMARY KEY (grp, pos)
) STRICT, WITHOUT ROWID;
CREATE INDEX due ON claims (grp, lane, due);
CREATE INDEX busy ON claims (grp, key, owner) WHERE key IS NOT NULL AND owner IS NOT NULL;
CREATE INDEX idle ON claims (grp, key) WHERE key IS NOT NULL AND owner IS NULL;
CREATE TABLE losses (grp INTEGER PRIMARY KEY, first INTEGER, last INTEGER NOT NULL, missing INTEGER) STRICT;
CREATE TABLE delayed (
  id INTEGER PRIMARY KEY AUTOINCREMENT, log INTEGER NOT NULL, due INTEGER NOT NULL, lane INTEGER NOT NULL, published INTEGER NOT NULL,
  expires INTEGER, message TEXT NOT NULL, klen INTEGER, hlen INTEGER, data BLOB NOT NULL, failures INTEGER NOT NULL
) STRICT;
CREATE INDEX delays ON delayed (log, due);
CREATE TABLE dedupe (
  log INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER, expires INTEGER NOT NULL, PRIMARY KEY (log, id)
) STRICT, WITHOUT ROWID;
CREATE TABLE latest (log INTEGER NOT NULL, key BLOB NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (log, key)) STRICT, WITHOUT ROWID;
CREATE TABLE garbage (log INTEGER PRIMARY KEY) STRICT;
`;
