import { closeSync, constants, type FSWatcher, fdatasync, openSync, statSync, watch, writeSync } from "node:fs";
import { dirname } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { type DriverContext, driverError, type Timer } from "brokerkit/driver";
import { cantOpen, isBusy, isFatal, unavailable } from "./errors.ts";
import type { Settings } from "./options.ts";
import { APPLICATION_ID, SCHEMA, SCHEMA_VERSION } from "./scripts/schema.ts";

export type Value = null | number | string | Uint8Array;

const BEGIN = { read: "BEGIN", write: "BEGIN IMMEDIATE" } as const;
const PAGE_BYTES = 8_192;
/** How often a waiting reader looks for changes that it was not woken for: a writer killed between its commit and its ring. */
const LOOK_MS = 200;
/** The same where the operating system can't watch files. */
const LOOK_OFTEN_MS = 20;

interface Job {
  readonly mode: keyof typeof BEGIN;
  readonly work: () => unknown;
  readonly signal: AbortSignal | undefined;
  readonly until: number;
  readonly resolve: (value: never) => void;
  readonly reject: (error: unknown) => void;
}

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

/**
 * The one connection of a driver to its file: transactions one after another, an fsync beside the event loop, and word of changes.
 *
 * A commit itself does not wait for the disk (`synchronous=NORMAL` in WAL mode: the log's frames are written, in order, and checksummed);
 * `durable()` then syncs the log on libuv's threads, one sync for all commits before it. That is what `synchronous=FULL` does inside
 * COMMIT, without holding up the event loop: a checkpoint syncs the log before it copies from it, so what `durable` has confirmed is
 * either in the synced log or in the synced file.
 */
export class Client {
  readonly settings: Settings;
  readonly #context: DriverContext;
  #db: DatabaseSync | undefined;
  readonly #statements = new Map<string, StatementSync>();
  readonly #jobs: Job[] = [];
  #draining = false;
  #inode = 0;
  #log = -1;
  #syncing: Promise<void> | undefined;
  #nextSync: Promise<void> | undefined;
  /** An fsync has failed: the system may have dropped what it was to write, so the log's content is not to be trusted to the disk. */
  #doubtful = false;
  readonly #changes = new Set<number>();
  readonly #listeners = new Set<Listener>();
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

  now(): number {
    return Math.floor(this.#context.clock.now());
  }

  monotonic(): number {
    return this.#context.clock.monotonic();
  }

  timer(ms: number, run: () => void): Timer {
    return this.#context.clock.timer(ms, run);
  }

  // ---- opening and closing
  async connect(signal: AbortSignal): Promise<void> {
    const until = this.monotonic() + this.settings.busyMs;
    while (this.#db === undefined) {
      try {
        this.#open();
      } catch (error) {
        if (!isBusy(error) || this.monotonic() >= until || signal.aborted) throw cantOpen(this.settings.path, error);
        await new Promise<void>((resolve) => this.timer(5, resolve));
      }
    }
  }

  #open(): void {
    const { path, create, maxBytes } = this.settings;
    statSync(dirname(path));
    const found = statSync(path, { throwIfNoEntry: !create });
    if (found?.isDirectory() === true) throw driverError("INVALID_ARGUMENT", "it is a folder");
    const db = new (loadSqlite().DatabaseSync)(path);
    try {
      this.#db = db;
      const known = this.#identify();
      db.exec(`PRAGMA page_size=${PAGE_BYTES}; PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=16000; PRAGMA wal_autocheckpoint=4000; PRAGMA wal_autocheckpoint=16000; PRAGMA cache_size=-65536; PRAGMA temp_store=MEMORY`);
      if (this.one<{ journal_mode: string }>("PRAGMA journal_mode=WAL")?.journal_mode !== "wal") {
        throw driverError("FORBIDDEN", "its folder's file system has no shared memory, which several processes on one file need");
      }
      if (!known) this.#create();
      if (this.#doubtful) db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
      db.exec("PRAGMA synchronous=NORMAL");
      if (Number.isFinite(maxBytes)) {
        const { page_size } = this.one<{ page_size: number }>("PRAGMA page_size") ?? { page_size: PAGE_BYTES };
        db.exec(`PRAGMA max_page_count=${Math.floor(maxBytes / page_size)}`);
      }
      this.#inode = statSync(path).ino;
      this.#log = openShared(`${path}-wal`, constants.O_RDWR);
      this.#bell = openShared(`${path}-wake`, constants.O_RDWR | constants.O_CREAT);
      this.#doubtful = false;
    } catch (error) {
      this.#release();
      throw error;
    }
  }

  /** Whether the file is one of ours; false for an empty one. Refuses others before anything is written to them. */
  #identify(): boolean {
    const number = (name: string): number => Object.values(this.one<Record<string, number>>(`PRAGMA ${name}`) ?? {})[0] ?? 0;
    const id = number("application_id");
    const version = number("user_version");
    if (id === 0 && version === 0 && this.one("SELECT 1 FROM sqlite_schema") === undefined) return false;
    if (id !== APPLICATION_ID) throw driverError("INVALID_ARGUMENT", "it is another application's database, and was left as it is");
    if (version !== SCHEMA_VERSION) {
      throw driverError("UNSUPPORTED", `its format is ${version} and this version of @brokerkit/sqlite reads ${SCHEMA_VERSION}: update it`);
    }
    return true;
  }

  #create(): void {
    this.run(BEGIN.write);
    try {
      // Two processes may find the same empty file.
      if (!this.#identify()) this.#db?.exec(`${SCHEMA} PRAGMA application_id=${APPLICATION_ID}; PRAGMA user_version=${SCHEMA_VERSION}`);
      this.run("COMMIT");
    } catch (error) {
      this.#rollback();
      throw error;
    }
  }

  /** Closes all readers, then the file. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#listeners].map(({ reader }) => reader.close()));
    await this.#nextSync?.catch(() => {});
    await this.#syncing?.catch(() => {});
    this.#release();
  }

  #release(): void {
    const db = this.#db;
    this.#db = undefined;
    this.#statements.clear();
    this.#listen(false);
    for (const file of [this.#log, this.#bell]) if (file !== -1) closeSync(file);
    this.#log = -1;
    this.#bell = -1;
    try {
      db?.close();
    } catch {
      // Nothing is lost: what was committed is in the file, and the next to open it tidies up.
    }
  }

  /** The connection is of no more use: everybody is told, and `connect` opens a new one. */
  #fail(error: unknown): void {
    if (this.#db === undefined) return;
    this.#release();
    for (const listener of this.#listeners) listener.ring(true);
    this.#context.down(error);
  }

  // ---- statements: only inside `transact`
  #prepare(sql: string): StatementSync {
    let statement = this.#statements.get(sql);
    if (statement === undefined) {
      if (this.#db === undefined) throw this.#closed();
      statement = this.#db.prepare(sql);
      this.#statements.set(sql, statement);
    }
    return statement;
  }

  one<T>(sql: string, ...values: Value[]): T | undefined {
    return this.#prepare(sql).get(...values) as T | undefined;
  }

  all<T>(sql: string, ...values: Value[]): T[] {
    return this.#prepare(sql).all(...values) as T[];
  }

  each<T>(sql: string, ...values: Value[]): IterableIterator<T> {
    return this.#prepare(sql).iterate(...values) as IterableIterator<T>;
  }

  /** The number of rows that were changed. */
  run(sql: string, ...values: Value[]): number {
    return Number(this.#prepare(sql).run(...values).changes);
  }

  // ---- transactions
  /**
   * Runs `work` in a transaction: at once if nobody else is writing, else as soon as it can, in the order of the calls, within `busyMs`
   * (then `UNAVAILABLE`). The wait is on a timer, never inside SQLite, where it would hold up the event loop. `work` must be synchronous;
   * if it throws, nothing of it is kept. After an abort, what has not begun does not begin.
   */
  transact<T>(mode: keyof typeof BEGIN, work: () => T, signal?: AbortSignal): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#jobs.push({ mode, work, signal, until: this.monotonic() + this.settings.busyMs, resolve, reject });
      if (!this.#draining) this.#drain();
    });
  }

  #drain(): void {
    this.#draining = true;
    for (let job = this.#jobs[0]; job !== undefined; job = this.#jobs[0]) {
      if (!this.#attempt(job)) {
        // Whoever is writing holds the lock for a few ms. Uneven pauses keep two who wait from meeting again and again.
        this.timer(1 + Math.random() * 2, () => {
          for (const waiting of this.#jobs) if (waiting.signal?.aborted === true) waiting.reject(givenUp());
          this.#drain();
        });
        return;
      }
      this.#jobs.shift();
    }
    this.#draining = false;
  }

  /** False if the lock was taken by somebody else and there is time left. */
  #attempt({ mode, work, signal, until, resolve, reject }: Job): boolean {
    try {
      if (signal?.aborted === true) throw givenUp();
      if (mode === "write") this.#checkFile();
      this.run(BEGIN[mode]);
    } catch (error) {
      if (isBusy(error)) {
        if (this.monotonic() < until) return false;
        reject(unavailable(`"${this.settings.path}" stayed locked by another process for ${this.settings.busyMs} ms ("busyMs").`, error));
      } else this.#refuse(error, reject);
      return true;
    }
    try {
      const value = work();
      this.run("COMMIT");
      resolve(value as never);
    } catch (error) {
      this.#rollback();
      this.#changes.clear();
      this.#refuse(error, reject);
    }
    this.#announce();
    return true;
  }

  #refuse(error: unknown, reject: (error: unknown) => void): void {
    reject(error);
    if (isFatal(error)) this.#fail(error);
  }

  #rollback(): void {
    try {
      this.run("ROLLBACK");
    } catch {
      // SQLite has rolled back already, as it does when the disk is full.
    }
  }

  /** A file that was removed or replaced under our feet still takes writes, and nobody would ever read them. */
  #checkFile(): void {
    if (this.#db === undefined) throw this.#closed();
    if (statSync(this.settings.path, { throwIfNoEntry: false })?.ino === this.#inode) return;
    const error = unavailable(`"${this.settings.path}" was removed or replaced while it was open. What it held is gone; open it afresh.`);
    this.#fail(error);
    throw error;
  }

  #closed(): Error {
    return unavailable(`"${this.settings.path}" is not open.`);
  }

  /** Resolves when everything committed so far is on the disk. */
  durable(): Promise<void> {
    if (this.settings.synchronous === "normal") return Promise.resolve();
    this.#nextSync ??= (this.#syncing ?? Promise.resolve())
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
      if (this.#log === -1) return reject(this.#closed());
      fdatasync(this.#log, (error) => {
        if (error === null) return resolve();
        this.#doubtful = true;
        reject(error);
        this.#fail(error);
      });
    });
  }

  // ---- word of changes
  /** Inside a transaction: once it is committed, readers of this topic have something to look at, in every process. */
  changed(topic: number): void {
    this.#changes.add(topic);
  }

  #announce(): void {
    if (this.#changes.size === 0) return;
    for (const listener of this.#listeners) if (this.#changes.has(listener.topic)) listener.ring(false);
    this.#changes.clear();
    if (this.#bell !== -1) writeSync(this.#bell, ".", 0);
  }

  /** Has every reader look whether what it owns is still its own. */
  recheck(): void {
    for (const listener of this.#listeners) listener.ring(true);
  }

  listen(listener: Listener): void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#listen(true);
  }

  unlisten(listener: Listener): void {
    this.#listeners.delete(listener);
    if (this.#listeners.size === 0) this.#listen(false);
  }

  #listen(on: boolean): void {
    this.#look?.cancel();
    this.#watcher?.close();
    this.#watcher = undefined;
    if (!on || this.#db === undefined) return;
    this.#version = this.#dataVersion();
    try {
      this.#watcher = watch(`${this.settings.path}-wake`, { persistent: false }, () => this.#heard());
      this.#watcher.on("error", () => this.#watcher?.close());
    } catch {
      // Out of watches, or a file system without them.
    }
    const every = this.#watcher === undefined ? LOOK_OFTEN_MS : LOOK_MS;
    const again = (): void => {
      this.#heard();
      this.#look = this.timer(every, again);
    };
    this.#look = this.timer(every, again);
  }

  /** SQLite's own count of other connections' commits tells real news from the sound of our own bell. */
  #heard(): void {
    if (this.#db === undefined) return;
    let version = Number.NaN;
    try {
      version = this.#dataVersion();
    } catch {
      // Busy, or worse: whoever looks now will find out.
    }
    if (version === this.#version) return;
    this.#version = version;
    for (const listener of this.#listeners) listener.ring(true);
  }

  #dataVersion(): number {
    return this.one<{ data_version: number }>("PRAGMA data_version")?.data_version ?? 0;
  }
}

function givenUp(): Error {
  return unavailable("The call was given up before it began. Nothing was changed.");
}

function openShared(path: string, flags: number): number {
  try {
    return openSync(path, flags);
  } catch {
    // A file that may only be read: nothing will be committed, so nothing needs syncing or announcing.
    return -1;
  }
}

/** What reads a topic: closed with the connection, and told at each change whether another connection may have made it. */
export interface Reader {
  close(): void | Promise<void>;
  heard?(elsewhere: boolean): void;
}

/** One reader's ear for the changes of one topic. */
export class Listener {
  readonly topic: number;
  readonly reader: Reader;
  readonly #client: Client;
  #rung = false;
  #wake: (() => void) | undefined;

  constructor(client: Client, topic: number, reader: Reader) {
    this.#client = client;
    this.topic = topic;
    this.reader = reader;
    client.listen(this);
  }

  ring(elsewhere: boolean): void {
    this.#rung = true;
    try {
      this.reader.heard?.(elsewhere);
    } catch {
      // The file is busy: what the reader does next will see it.
    }
    this.#wake?.();
  }

  /** Call before looking: a change after this ends the next `wait` at once. */
  arm(): void {
    this.#rung = false;
  }

  /** Resolves at a change, after `ms`, or on abort. */
  wait(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#rung || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", wake);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#client.timer(ms, wake);
      signal.addEventListener("abort", wake, { once: true });
      this.#wake = wake;
    });
  }

  close(): void {
    this.#client.unlisten(this);
    this.ring(false);
  }
}
