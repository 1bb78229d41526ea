import { accessSync, closeSync, constants, type FSWatcher, fdatasync, openSync, statSync, watch, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import { type DriverContext, driverError, type Timer } from "brokerkit/driver";
import { cantOpen, isBusy, isFatal, unavailable } from "./errors.ts";
import type { Settings } from "./options.ts";
import { isKnown, SCHEMA } from "./scripts/schema.ts";

export type Value = null | number | string | Uint8Array;

const PAGE_BYTES = 8_192;
/** When a COMMIT copies the log into the file: 32 MB, so that pages which many commits touch are copied once for all of them. */
const CHECKPOINT_PAGES = 4_000;
/** How often a waiting reader looks for changes it was not woken for: a writer was killed between its commit and its ring. */
const LOOK_MS = 200;
/** The same where the system can't watch files. */
const LOOK_OFTEN_MS = 20;

/** node:sqlite, loaded when it is first needed, without the warning that Node 22 gives for it. */
function loadSqlite(): typeof import("node:sqlite") {
  const { emitWarning } = process;
  process.emitWarning = (warning: string | Error, ...rest: unknown[]): void => {
    if (!String(warning).includes("SQLite")) Reflect.apply(emitWarning, process, [warning, ...rest]);
  };
  try {
    return process.getBuiltinModule("node:sqlite");
  } finally {
    process.emitWarning = emitWarning;
  }
}

function bindsByNumber(db: DatabaseSync): boolean {
  try {
    return db.prepare("SELECT ?1 AS one").get(1) !== undefined;
  } catch {
    return false;
  }
}

/** A file beside the database; -1 where it can't be opened for writing, and then nothing is committed that would need it. */
function openBeside(path: string, flags: number): number {
  try {
    return openSync(path, constants.O_RDWR | flags);
  } catch {
    return -1;
  }
}

/**
 * The one connection of a driver to its file: transactions, an fsync beside the event loop, and word of changes.
 *
 * A commit itself does not wait for the disk (`synchronous=NORMAL` in WAL mode: the log's frames are written in order and checksummed).
 * `durable` then syncs the log on libuv's threads, one sync for all commits before it. That is what `synchronous=FULL` does inside COMMIT,
 * without holding up the event loop. A checkpoint syncs the log before it copies from it, and the file before the log is used afresh, so
 * what `durable` has confirmed is in the synced log or in the synced file.
 */
export class Client {
  readonly settings: Settings;
  readonly #context: DriverContext;
  #db: DatabaseSync | undefined;
  readonly #statements = new Map<string, StatementSync>();
  #byName = false;
  #inode = 0;
  #log = -1;
  #syncing: Promise<void> = Promise.resolve();
  #nextSync: Promise<void> | undefined;
  /** An fsync has failed: the system may take for written what it has dropped, so the log is copied into the file by the next `connect`. */
  #doubtful = false;
  readonly #changed = new Set<number>();
  readonly #waiting = new Set<{ readonly topic: number; wake(): void }>();
  #ticks = 0;
  #bell = -1;
  #watcher: FSWatcher | undefined;
  #look: Timer | undefined;
  #version = 0;

  constructor(settings: Settings, context: DriverContext) {
    this.settings = settings;
    this.#context = context;
  }

  get open(): boolean {
    return this.#db !== undefined;
  }

  /** Wall time as whole ms. */
  now(): number {
    return Math.floor(this.#context.clock.now());
  }

  monotonic(): number {
    return this.#context.clock.monotonic();
  }

  /** The clock's timers let the process end, and here may be nothing else that keeps it: a caller waits for its answer. */
  async #pause(ms: number): Promise<void> {
    const alive = setInterval(() => {}, 2 ** 30);
    await new Promise<void>((resolve) => void this.#context.clock.timer(ms, resolve));
    clearInterval(alive);
  }

  // ---- opening and closing
  async connect(signal: AbortSignal): Promise<void> {
    const until = this.monotonic() + this.settings.busyMs;
    while (this.#db === undefined) {
      try {
        this.#open();
      } catch (error) {
        this.#release();
        if (!isBusy(error) || this.monotonic() >= until || signal.aborted) throw cantOpen(this.settings.path, error);
        await this.#pause(5);
      }
    }
  }

  #open(): void {
    const { path, create, maxBytes } = this.settings;
    // SQLite says of all that may be wrong here only that it can't open the file.
    accessSync(dirname(path), constants.W_OK);
    const found = statSync(path, { throwIfNoEntry: !create });
    if (found?.isDirectory()) throw driverError("INVALID_ARGUMENT", "it is a folder");
    if (found !== undefined) accessSync(path, constants.W_OK);
    this.#db = new (loadSqlite().DatabaseSync)(path);
    this.#byName = !bindsByNumber(this.#db);
    const known = this.#known();
    this.#db.exec(
      `PRAGMA page_size=${PAGE_BYTES}; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=${CHECKPOINT_PAGES}; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY`,
    );
    if (this.one<{ journal_mode: string }>("PRAGMA journal_mode=WAL")?.journal_mode !== "wal") {
      throw driverError("FORBIDDEN", "its file system can't share memory, which several processes on one file need");
    }
    // Of two processes that find an empty file one creates the tables.
    if (!known) this.#within("BEGIN IMMEDIATE", () => this.#known() || this.#db?.exec(SCHEMA));
    if (this.#doubtful) this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    this.#db.exec("PRAGMA synchronous=NORMAL");
    const pageBytes = this.one<{ page_size: number }>("PRAGMA page_size")?.page_size ?? PAGE_BYTES;
    if (Number.isFinite(maxBytes)) this.#db.exec(`PRAGMA max_page_count=${Math.floor(maxBytes / pageBytes)}`);
    this.#inode = statSync(path).ino;
    this.#log = openBeside(`${path}-wal`, 0);
    this.#bell = openBeside(`${path}-wake`, constants.O_CREAT);
    this.#doubtful = false;
  }

  #known(): boolean {
    return isKnown((sql) => Object.values(this.one<Record<string, number>>(sql) ?? {})[0]);
  }

  async close(): Promise<void> {
    await Promise.allSettled([this.#nextSync, this.#syncing]);
    this.#release();
  }

  #release(): void {
    const db = this.#db;
    this.#db = undefined;
    this.#statements.clear();
    this.#look?.cancel();
    this.#look = undefined;
    this.#watcher?.close();
    this.#watcher = undefined;
    for (const file of [this.#log, this.#bell]) if (file !== -1) closeSync(file);
    this.#log = this.#bell = -1;
    try {
      db?.close();
    } catch {
      // Nothing is lost: what was committed is in the log, and who opens the file next tidies up.
    }
    this.#wake(() => true);
  }

  /** The connection is of no more use: core is told, and `connect` opens a new one. */
  #fail(error: unknown): void {
    if (!this.open) return;
    this.#release();
    this.#context.down(error);
  }

  // ---- statements: within `transact`
  #prepare(sql: string): StatementSync {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    if (this.#db === undefined) throw unavailable(`"${this.settings.path}" is not open.`);
    const statement = this.#db.prepare(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  /** Before Node 22.16 or so, numbered parameters are bound by name only. */
  #bind(values: Value[]): Value[] {
    if (!this.#byName || values.length === 0) return values;
    return [Object.fromEntries(values.map((value, n) => [`?${n + 1}`, value]))] as unknown as Value[];
  }

  one<T>(sql: string, ...values: Value[]): T | undefined {
    return this.#prepare(sql).get(...this.#bind(values)) as T | undefined;
  }

  all<T>(sql: string, ...values: Value[]): T[] {
    return this.#prepare(sql).all(...this.#bind(values)) as T[];
  }

  each<T>(sql: string, ...values: Value[]): IterableIterator<T> {
    return this.#prepare(sql).iterate(...this.#bind(values)) as IterableIterator<T>;
  }

  /** The number of rows that were changed. */
  run(sql: string, ...values: Value[]): number {
    return Number(this.#prepare(sql).run(...this.#bind(values)).changes);
  }

  // ---- transactions
  /**
   * Runs `work`, which must be synchronous, in a transaction; if it throws, nothing of it is kept. At once if nobody else is writing, else
   * as soon as it can within `busyMs`, then `UNAVAILABLE`. It waits on a timer, never inside SQLite, where it would hold up the event
   * loop. Rejects without having begun if `signal` comes first.
   */
  async transact<T>(mode: "read" | "write", work: () => T, signal?: AbortSignal): Promise<T> {
    const until = this.monotonic() + this.settings.busyMs;
    for (;;) {
      if (signal?.aborted) throw unavailable("The call was given up before it began. Nothing was changed.");
      try {
        if (mode === "write") this.#checkFile();
        return this.#within(mode === "write" ? "BEGIN IMMEDIATE" : "BEGIN", work);
      } catch (error) {
        if (isFatal(error)) this.#fail(error);
        if (!isBusy(error)) throw error;
        if (this.monotonic() >= until)
          throw unavailable(`"${this.settings.path}" stayed locked by another process for ${this.settings.busyMs} ms.`, error);
        // Whoever writes has the lock for a few ms. Uneven pauses keep two who wait from meeting again and again.
        await this.#pause(1 + Math.random() * 2);
      }
    }
  }

  #within<T>(begin: string, work: () => T): T {
    this.run(begin);
    try {
      const value = work();
      this.run("COMMIT");
      return value;
    } catch (error) {
      this.#changed.clear();
      try {
        this.run("ROLLBACK");
      } catch {
        // SQLite has rolled back by itself, as it does when the disk is full.
      }
      throw error;
    } finally {
      this.#announce();
    }
  }

  /** A file that was removed or replaced under our feet goes on taking writes, which nobody would ever read. */
  #checkFile(): void {
    if (!this.open || statSync(this.settings.path, { throwIfNoEntry: false })?.ino === this.#inode) return;
    const error = unavailable(`"${this.settings.path}" was removed or replaced while it was open.`);
    this.#fail(error);
    throw error;
  }

  /** Resolves when everything committed so far is on the disk. */
  durable(): Promise<void> {
    if (this.settings.synchronous === "normal") return setImmediate();
    this.#nextSync ??= this.#syncing
      .catch(() => {})
      .then(() => {
        this.#nextSync = undefined;
        this.#syncing = this.#sync();
        return this.#syncing;
      });
    return this.#nextSync;
  }

  #sync(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (!this.open) return reject(unavailable(`"${this.settings.path}" was closed before its content was on the disk.`));
      fdatasync(this.#log, (error) => {
        if (error === null) return resolve();
        this.#doubtful = true;
        this.#fail(error);
        reject(error);
      });
    });
  }

  // ---- word of changes
  /** Within a transaction: once it is committed, readers of this topic have something to look at, in every process. */
  changed(topic: number): void {
    this.#changed.add(topic);
  }

  /** Has the readers of a topic look again, in this process. */
  nudge(topic: number): void {
    this.#wake((concerned) => concerned === topic);
  }

  #announce(): void {
    if (this.#changed.size === 0) return;
    this.#wake((topic) => this.#changed.has(topic));
    this.#changed.clear();
    if (this.#bell !== -1) writeSync(this.#bell, ".", 0);
  }

  #wake(concerned: (topic: number) => boolean): void {
    this.#ticks++;
    for (const { topic, wake } of this.#waiting) if (concerned(topic)) wake();
  }

  /**
   * Calls `look` until it answers with an array, `waitMs` are over or `signal` says so (then `[]`). A number says at what wall time to look
   * next if nothing changes; one that has passed means at once. SQLite answers without waiting, so each look begins by letting timers and
   * sockets have their turn: a fast reader would keep them waiting for ever, the timers of its own leases among them.
   */
  async poll<T>(topic: number, waitMs: number, signal: AbortSignal, look: () => Promise<readonly T[] | number>): Promise<readonly T[]> {
    const until = this.monotonic() + waitMs;
    while (!signal.aborted) {
      await setImmediate();
      const ticks = this.#ticks;
      const found = await look().catch((error) => {
        if (signal.aborted) return [];
        throw error;
      });
      if (typeof found !== "number") return found;
      const left = until - this.monotonic();
      if (left <= 0) break;
      const ms = Math.min(left, found - this.now());
      if (ms > 0 && ticks === this.#ticks) await this.#wait(topic, ms, signal);
    }
    return [];
  }

  #wait(topic: number, ms: number, signal: AbortSignal): Promise<void> {
    this.#listen();
    return new Promise((resolve) => {
      const waiter = {
        topic,
        wake: (): void => {
          timer.cancel();
          signal.removeEventListener("abort", waiter.wake);
          this.#waiting.delete(waiter);
          resolve();
        },
      };
      const timer = this.#context.clock.timer(ms, waiter.wake);
      signal.addEventListener("abort", waiter.wake);
      this.#waiting.add(waiter);
    });
  }

  /** Other processes ring by writing to a file that all of them watch; a slow look beside it makes up for a ring that was missed. */
  #listen(): void {
    if (this.#look !== undefined) return;
    try {
      this.#watcher ??= watch(`${this.settings.path}-wake`, { persistent: false }, () => this.#heard()).on("error", () => {});
    } catch {
      // Out of watches, or a file system without them.
    }
    this.#look = this.#context.clock.timer(this.#watcher === undefined ? LOOK_OFTEN_MS : LOOK_MS, () => {
      this.#look = undefined;
      this.#heard();
      if (this.#waiting.size > 0) this.#listen();
    });
  }

  /** SQLite's own count of other connections' commits tells news from the sound of our own bell. */
  #heard(): void {
    let version = Number.NaN;
    try {
      version = this.one<{ data_version: number }>("PRAGMA data_version")?.data_version ?? 0;
    } catch {
      // Busy, or closed: whoever is woken will see.
    }
    if (version === this.#version) return;
    this.#version = version;
    this.#wake(() => true);
  }
}
