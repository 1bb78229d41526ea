import { randomUUID } from "node:crypto";
import type { DatabaseSync } from "node:sqlite";
import type { Broker } from "brokerkit";
import { orders } from "../contracts.ts";

// #region write
const TABLES = `
  CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL);
  CREATE TABLE IF NOT EXISTS outbox (seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, payload TEXT NOT NULL);`;

export function migrate(db: DatabaseSync): void {
  db.exec(TABLES);
}

/** The order and the word of it are one transaction: both are there, or neither. */
export function placeOrder(db: DatabaseSync, id: number, customer: string): void {
  db.exec("BEGIN IMMEDIATE");
  try {
    db.prepare("INSERT INTO orders VALUES (?, ?)").run(id, customer);
    const payload = JSON.stringify({ id, customer, at: new Date() });
    db.prepare("INSERT INTO outbox (id, payload) VALUES (?, ?)").run(randomUUID(), payload);
    db.exec("COMMIT");
  } catch (error) {
    db.exec("ROLLBACK");
    throw error;
  }
}
// #endregion

// #region relay
type Row = { readonly seq: number; readonly id: string; readonly payload: string };

/** Publishes what waits, in order, and forgets it once it is confirmed. One relay runs at a time. Resolves to how many it moved. */
export async function relay(db: DatabaseSync, broker: Broker<never>): Promise<number> {
  let moved = 0;
  for (;;) {
    const rows = db.prepare("SELECT seq, id, payload FROM outbox ORDER BY seq LIMIT 100").all() as Row[];
    if (rows.length === 0) return moved;
    // Each keeps the id it was written with: after a crash right here it is published again as the same message.
    await broker.topic(orders).publishAll(rows.map(({ id, payload }) => ({ id, payload: JSON.parse(payload) as never })));
    db.prepare("DELETE FROM outbox WHERE seq <= ?").run(rows.at(-1)?.seq ?? 0);
    moved += rows.length;
  }
}
// #endregion
