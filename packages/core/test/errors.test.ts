import { driverError } from "brokerkit/driver";
import { expect, test } from "vitest";
import { fromDriver } from "../src/errors.ts";
import { issuesText } from "../src/schema.ts";

const said = (error: unknown): string =>
  fromDriver({ classify: () => ({ code: "UNAVAILABLE", retryable: true }) }, error, { adapter: "own", doing: "connect" }).message;
const system = (code: string, more: object = {}): Error => Object.assign(new Error(`${code} said`), { code, ...more });

test.each([
  [system("ECONNREFUSED", { address: "127.0.0.1", port: 6379 }), "ECONNREFUSED said. Is the server running at 127.0.0.1:6379?"],
  [system("ECONNREFUSED", { address: "::1", port: 6379 }), "ECONNREFUSED said. Is the server running at [::1]:6379?"],
  [system("ECONNREFUSED"), "ECONNREFUSED said. Is the server running?"],
  [new AggregateError([system("ECONNREFUSED", { address: "::1", port: 1 })], ""), "ECONNREFUSED said. Is the server running at [::1]:1?"],
  [system("ENOTFOUND", { hostname: "brokre" }), 'ENOTFOUND said. Is the host "brokre" spelt correctly?'],
  [driverError("UNAVAILABLE", "[own] It is closed. Open it."), "It is closed. Open it."],
  [driverError("UNAVAILABLE", "[0] is no index"), "[0] is no index"],
  ["text", "text"],
])("what the system refused leads to what to look at, and an adapter's name stands once: %s", (error, text) => {
  expect(said(error)).toBe(`[own] connect: ${text}`);
});

test("a refused connection that a client wraps in its own error still names the next step", () => {
  const raw = new Error("Connection to 10.0.0.1:9092 failed.", { cause: system("ECONNREFUSED", { address: "10.0.0.1", port: 9092 }) });
  expect(said(raw)).toContain("Is the server running at 10.0.0.1:9092?");
});

test("what a schema refuses says where in the payload it is", () => {
  const issues = [
    { message: "expected string", path: ["who", { key: "name" }] },
    { message: "too short", path: ["lines", 2] },
    { message: "odd" },
  ];
  expect(issuesText(issues)).toBe("who.name: expected string; lines.2: too short; odd");
  expect(issuesText([])).toBe("no reason given");
});
