import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

/** Primary result codes of SQLite (https://www.sqlite.org/rescode.html); the extended ones have them in their low byte. */
const RESULTS: Readonly<Record<number, Classified>> = {
  3: { code: "FORBIDDEN", retryable: false }, // PERM
  5: { code: "UNAVAILABLE", retryable: true }, // BUSY: another process is writing
  6: { code: "UNAVAILABLE", retryable: true }, // LOCKED
  8: { code: "FORBIDDEN", retryable: false }, // READONLY
  10: { code: "UNAVAILABLE", retryable: true }, // IOERR
  11: { code: "DATA_LOSS", retryable: false }, // CORRUPT
  13: { code: "QUOTA_EXCEEDED", retryable: true }, // FULL: the disk, or `maxBytes`
  14: { code: "NOT_FOUND", retryable: false }, // CANTOPEN
  15: { code: "UNAVAILABLE", retryable: true }, // PROTOCOL: locking was contended
  18: { code: "TOO_LARGE", retryable: false }, // TOOBIG
  23: { code: "FORBIDDEN", retryable: false }, // AUTH
  26: { code: "INVALID_ARGUMENT", retryable: false }, // NOTADB
};

/** Errors of node:fs, from opening and from fsync. */
const FILES: Readonly<Record<string, Classified>> = {
  ENOENT: { code: "NOT_FOUND", retryable: false },
  ENOTDIR: { code: "NOT_FOUND", retryable: false },
  EISDIR: { code: "INVALID_ARGUMENT", retryable: false },
  EACCES: { code: "FORBIDDEN", retryable: false },
  EPERM: { code: "FORBIDDEN", retryable: false },
  EROFS: { code: "FORBIDDEN", retryable: false },
  ENOSPC: { code: "QUOTA_EXCEEDED", retryable: true },
  EDQUOT: { code: "QUOTA_EXCEEDED", retryable: true },
  EIO: { code: "UNAVAILABLE", retryable: true },
};

const RETRYABLE: readonly ErrorCode[] = ["UNAVAILABLE", "TIMEOUT", "QUOTA_EXCEEDED"];
const UNKNOWN: Classified = { code: "INTERNAL", retryable: false };

/** SQLite's primary result code of an error that node:sqlite threw. */
export function resultOf(error: unknown): number | undefined {
  const { code, errcode } = Object(error) as { code?: unknown; errcode?: unknown };
  return code === "ERR_SQLITE_ERROR" && typeof errcode === "number" ? errcode & 0xff : undefined;
}

/** Another connection holds the lock that was asked for. Nothing was done. */
export function isBusy(error: unknown): boolean {
  const result = resultOf(error);
  return result === 5 || result === 6;
}

/** The connection itself can't be trusted any more: I/O failed, or the file is damaged. */
export function isFatal(error: unknown): boolean {
  const result = resultOf(error);
  return result === 10 || result === 11 || result === 26;
}

export function classify(error: unknown): Classified {
  const { driverCode, code } = Object(error) as Partial<DriverError> & { code?: unknown };
  if (driverCode !== undefined) return { code: driverCode, retryable: RETRYABLE.includes(driverCode) };
  const result = resultOf(error);
  return (result === undefined ? FILES[String(code)] : RESULTS[result]) ?? UNKNOWN;
}

export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", `[sqlite] ${what}`, { cause });
}

export function noTopic(topic: string): DriverError {
  return driverError("NOT_FOUND", `[sqlite] There is no topic "${topic}" in this file: create it first, or let "provision" do so.`);
}

export function noGroup(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `[sqlite] Topic "${topic}" has no group "${group}": create it, or subscribe to it once.`);
}

/** Why a file can't be opened, and what to do. Keeps the code of the cause. */
export function cantOpen(path: string, cause: unknown): DriverError {
  const { code } = classify(cause);
  const advice: Partial<Record<ErrorCode, string>> = {
    NOT_FOUND: 'Make its folder first, and leave "create" on if the file is to be made.',
    FORBIDDEN: "This process needs to read and write the file and its folder.",
    UNAVAILABLE: 'Another process keeps it locked; end that, or allow more time by "busyMs".',
    DATA_LOSS: "The file is damaged: restore it from a copy, or recover it with the sqlite3 shell (.recover).",
    INVALID_ARGUMENT: "Give the path of a brokerkit file, or of a new one.",
  };
  const what = cause instanceof Error ? cause.message : String(cause);
  return driverError(code, `[sqlite] "${path}" can't be opened: ${what}. ${advice[code] ?? ""}`.trimEnd(), { cause });
}
