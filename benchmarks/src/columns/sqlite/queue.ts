import { join } from "node:path";
import type { DatabaseSync, StatementSync } from "node:sqlite";
import { setImmediate } from "node:timers/promises";
import type { Account } from "../../measure/account.ts";
import type { Consumer, Session, Site } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";

interface Row {
  readonly n: number;
  readonly body: Uint8Array;
}

/** A queue as people write it by hand: one table, INSERT, SELECT from the front, DELETE. `step` rows share a transaction. */
export class TableQueue implements Session {
  readonly #db: DatabaseSync;
  readonly #step: number;
  #table = "";
  #insert: StatementSync | undefined;

  constructor(db: DatabaseSync, step: number) {
    this.#db = db;
    this.#step = step;
  }

  static async open(site: Site, step: number): Promise<TableQueue> {
    const { DatabaseSync } = await import("node:sqlite");
    const db = new DatabaseSync(join(site.folder, `raw-${step}.db`));
    db.exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000");
    return new TableQueue(db, step);
  }

  attach(topic: string): void {
    this.#table = `"${topic}"`;
    this.#db.exec(`CREATE TABLE IF NOT EXISTS ${this.#table} (n INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT, body BLOB NOT NULL) STRICT`);
    this.#insert = this.#db.prepare(`INSERT INTO ${this.#table} (key, body) VALUES (?, ?)`);
  }

  async create(): Promise<void> {}

  async publish(messages: Messages, first: number, count: number): Promise<void> {
    for (let n = 0; n < count; n += this.#step) {
      this.#store(messages, first + n, Math.min(this.#step, count - n));
      // Everything else in the process gets its turn, such as whoever consumes.
      await setImmediate();
    }
  }

  async send(messages: Messages, first: number, count: number): Promise<void> {
    this.#store(messages, first, count);
  }

  #store(messages: Messages, first: number, count: number): void {
    const insert = this.#insert as StatementSync;
    if (count > 1) this.#db.exec("BEGIN IMMEDIATE");
    for (let n = first; n < first + count; n++) insert.run(messages.key(n) ?? null, messages.body(n));
    if (count > 1) this.#db.exec("COMMIT");
  }

  async consume(account: Account): Promise<Consumer> {
    const select = this.#db.prepare(`SELECT n, body FROM ${this.#table} ORDER BY n LIMIT ${this.#step}`);
    const remove = this.#db.prepare(`DELETE FROM ${this.#table} WHERE n <= ?`);
    let open = true;
    const loop = (async () => {
      while (open) {
        const rows = select.all() as unknown as Row[];
        for (const row of rows) account.take(indexOf(row.body));
        const last = rows.at(-1);
        if (last !== undefined) {
          await account.rest(rows.length, 1);
          remove.run(last.n);
        }
        await setImmediate();
      }
    })();
    const stop = async (): Promise<void> => {
      open = false;
      await loop;
    };
    return { flush: stop, close: stop };
  }

  async remove(): Promise<void> {
    this.#insert = undefined;
    this.#db.exec(`DROP TABLE ${this.#table}`);
  }

  async close(): Promise<void> {
    this.#db.close();
  }
}
