import { createHash } from "node:crypto";
import { closeSync, mkdirSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { HistoryError, type HistoryRecord } from "./event.ts";

/** Appends one process's events. What `record` returned from survives a SIGKILL of the process (not a power cut: nothing is fsynced). */
export interface HistoryWriter {
  readonly process: string;
  /** Appends one event, or several in one write. On return they are in the file. Throws the file system's error if they are not. */
  record(events: HistoryRecord | readonly HistoryRecord[]): void;
  /** Closes the file. A second call does nothing; `record` afterwards throws. */
  close(): void;
}

const processName = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * The clock of every history: wall milliseconds with a fraction. It is monotonic within a process, and agrees between the processes of one
 * machine to some microseconds.
 */
export function historyTime(): number {
  return Math.round((performance.timeOrigin + performance.now()) * 1000) / 1000;
}

/** A short digest (32 hex digits) of a message's content for the `hash` field. */
export function hashOf(content: string | Uint8Array): string {
  return createHash("sha256").update(content).digest("hex").slice(0, 32);
}

/**
 * Opens `<dir>/<process>.jsonl` for appending and makes `dir` if need be.
 * @param process letters, digits, dot, dash, underscore; new for every start of a process: an existing file is an error, not a continuation
 */
export function openHistory(dir: string, process: string): HistoryWriter {
  if (!processName.test(process)) throw new HistoryError(`"${process}" cannot name a history file: use letters, digits, ".", "_" and "-"`);
  mkdirSync(dir, { recursive: true });
  const file = openSync(join(dir, `${process}.jsonl`), "ax");
  const name = JSON.stringify(process);
  let next = 0;
  let open = true;

  const line = (event: HistoryRecord, t: number): string => `{"i":${next++},"t":${t},"process":${name},${JSON.stringify(event).slice(1)}\n`;

  return {
    process,
    record(events) {
      if (!open) throw new HistoryError(`the history of ${process} is closed`);
      const t = historyTime();
      let text = "";
      if ("f" in events) text = line(events, t);
      else for (const event of events) text += line(event, t);
      const bytes = Buffer.from(text);
      // A write may be cut short (a full disk, a signal); half a line must not be followed by a whole one.
      for (let sent = 0; sent < bytes.length; ) sent += writeSync(file, bytes, sent);
    },
    close() {
      if (open) closeSync(file);
      open = false;
    },
  };
}
