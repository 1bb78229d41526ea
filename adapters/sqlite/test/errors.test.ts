import { driverError } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import { cantOpen, classify, isBusy, isFatal } from "../src/errors.ts";

const raised = (errcode: number): Error => Object.assign(new Error("raised"), { code: "ERR_SQLITE_ERROR", errcode });

describe("classify", () => {
  it.each([
    [5, "UNAVAILABLE", true],
    [517, "UNAVAILABLE", true], // BUSY_SNAPSHOT
    [6, "UNAVAILABLE", true],
    [1_034, "UNAVAILABLE", true], // IOERR_FSYNC
    [8, "FORBIDDEN", false],
    [1_032, "FORBIDDEN", false], // READONLY_DBMOVED
    [11, "DATA_LOSS", false],
    [13, "QUOTA_EXCEEDED", false],
    [14, "NOT_FOUND", false],
    [18, "TOO_LARGE", false],
    [26, "INVALID_ARGUMENT", false],
    [1, "INTERNAL", false],
  ])("knows SQLite's result %i as %s", (errcode, code, retryable) => {
    expect(classify(raised(errcode))).toEqual({ code, retryable });
  });

  it.each([
    ["ENOENT", "NOT_FOUND"],
    ["EACCES", "FORBIDDEN"],
    ["EROFS", "FORBIDDEN"],
    ["ENOSPC", "QUOTA_EXCEEDED"],
    ["EIO", "UNAVAILABLE"],
    ["EMFILE", "INTERNAL"],
  ])("knows the file system's %s as %s", (name, code) => {
    expect(classify(Object.assign(new Error("raised"), { code: name })).code).toBe(code);
  });

  it("keeps the code of the driver's own errors, and takes anything", () => {
    expect(classify(driverError("UNAVAILABLE", "x"))).toEqual({ code: "UNAVAILABLE", retryable: true });
    expect(classify(driverError("CLOSED", "x"))).toEqual({ code: "CLOSED", retryable: false });
    for (const odd of [undefined, null, 5, "text", {}, new Error("plain")])
      expect(classify(odd)).toEqual({ code: "INTERNAL", retryable: false });
  });

  it("tells a lock from a broken connection", () => {
    expect([5, 261, 6, 13].map((code) => isBusy(raised(code)))).toEqual([true, true, true, false]);
    expect([10, 266, 11, 26, 5].map((code) => isFatal(raised(code)))).toEqual([true, true, true, true, false]);
  });
});

describe("an error of opening", () => {
  it("says what happened, where, and what to do next, and keeps its cause", () => {
    const cause = Object.assign(new Error("EACCES: permission denied"), { code: "EACCES" });
    const error = cantOpen("orders.db", cause);
    expect(error).toMatchObject({ driverCode: "FORBIDDEN", cause });
    expect(error.message).toMatch(/"orders\.db" can't be opened: EACCES.*must be able to write/);
  });
});
