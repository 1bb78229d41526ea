import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

type Row = readonly [code: ErrorCode, retryable: boolean, results: readonly number[], files: readonly string[], advice: string];

/** SQLite's primary result codes (https://www.sqlite.org/rescode.html) and the names of node:fs's errors, by what they mean here. */
const TABLE: readonly Row[] = [
  // BUSY, LOCKED, IOERR, PROTOCOL
  ["UNAVAILABLE", true, [5, 6, 10, 15], ["EIO"], 'Another process may keep it locked: end that, or allow more time by "busyMs".'],
  // PERM, READONLY, AUTH
  ["FORBIDDEN", false, [3, 8, 23], ["EACCES", "EPERM", "EROFS"], "This process must be able to write the file and its folder."],
  // FULL: the disk, or `maxBytes`
  ["QUOTA_EXCEEDED", false, [13], ["ENOSPC", "EDQUOT"], "Make room on the disk."],
  // CANTOPEN
  ["NOT_FOUND", false, [14], ["ENOENT", "ENOTDIR"], 'Make its folder first, and leave "create" on if the file is to be made.'],
  // NOTADB
  ["INVALID_ARGUMENT", false, [26], ["EISDIR"], "Give the path of a brokerkit file, or of a new one."],
  // CORRUPT
  [
    "DATA_LOSS",
    false,
    [11],
    [],
    "The file is damaged: restore a copy of it, or save what can be read by the .recover command of the sqlite3 shell.",
  ],
  // TOOBIG
  ["TOO_LARGE", false, [18], [], ""],
];

/** SQLite's primary result code of an error from node:sqlite: the extended codes have it in their low byte. */
function resultOf(error: unknown): number {
  const { code, errcode } = Object(error) as { code?: unknown; errcode?: unknown };
  return code === "ERR_SQLITE_ERROR" && typeof errcode === "number" ? errcode & 0xff : 0;
}

/** Another connection holds the lock that was asked for, and nothing was done. */
export function isBusy(error: unknown): boolean {
  return [5, 6].includes(resultOf(error));
}

/** I/O has failed or the file is damaged: the connection is not to be trusted any more. */
export function isFatal(error: unknown): boolean {
  return [10, 11, 26].includes(resultOf(error));
}

export function classify(error: unknown): Classified {
  const { driverCode, code } = Object(error) as Partial<DriverError> & { code?: unknown };
  const row = TABLE.find(([name, , results, files]) =>
    driverCode ? name === driverCode : results.includes(resultOf(error)) || files.includes(String(code)),
  );
  return { code: driverCode ?? row?.[0] ?? "INTERNAL", retryable: row?.[1] ?? false };
}

/** Why a file can't be opened, and what to do. Keeps the code of the cause. */
export function cantOpen(path: string, cause: unknown): DriverError {
  const { code } = classify(cause);
  const advice = TABLE.find(([name]) => name === code)?.[4] ?? "";
  return driverError(code, `[sqlite] "${path}" can't be opened: ${cause instanceof Error ? cause.message : cause}. ${advice}`, { cause });
}

export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", `[sqlite] ${what}`, { cause });
}

/** There is no such topic, or no such group of it. */
export function notFound(topic: string, group?: string): DriverError {
  const what =
    group === undefined ? `no topic "${topic}" in this file: create it first` : `no group "${group}" of topic "${topic}": subscribe first`;
  return driverError("NOT_FOUND", `[sqlite] There is ${what}.`);
}
