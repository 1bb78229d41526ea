import { spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { check, formatVerdict, HistoryError, type HistoryRecord, hashOf, openHistory, readHistory } from "../src/checker/index.ts";
import { simulate } from "./checker-simulation.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "brokerkit-history-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

const publish = (id: string, seq: number): HistoryRecord => ({
  type: "invoke",
  f: "publish",
  topic: "orders",
  key: "ada",
  id,
  seq,
  hash: "h",
});

it("reads back what was recorded, merged by time, each process in its own order", () => {
  const [web, worker] = [openHistory(dir, "web"), openHistory(dir, "worker.1")];
  web.record(publish("a", 1));
  worker.record({ type: "ok", f: "receive", topic: "orders", group: "billing", key: "ada", id: "a", hash: "h", position: "0:1" });
  web.record([publish("b", 2), publish("ü \n", 3)]);
  web.close();
  worker.close();
  const events = [...readHistory(dir)];
  expect(events.map(({ process, i }) => `${process} ${i}`)).toEqual(["web 0", "worker.1 0", "web 1", "web 2"]);
  expect(events[3]).toMatchObject(publish("ü \n", 3));
  for (const { t } of events) expect(Math.abs(t - Date.now())).toBeLessThan(60_000);
});

it("has every event on disk when record returns", () => {
  const writer = openHistory(dir, "web");
  writer.record(publish("a", 1));
  expect(readFileSync(join(dir, "web.jsonl"), "utf8")).toMatch(/"id":"a".*\n$/);
  writer.close();
});

it("keeps what a process recorded before it was killed", async () => {
  const source = JSON.stringify(new URL("../src/checker/index.ts", import.meta.url).href);
  const program = `
    const { openHistory } = await import(${source});
    const history = openHistory(${JSON.stringify(dir)}, "victim");
    for (let seq = 1; ; seq++) {
      history.record({ type: "invoke", f: "publish", topic: "orders", id: "m" + seq, seq, hash: "h" });
      if (seq % 100 === 0) process.stdout.write(seq + "\\n");
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: ["ignore", "pipe", "inherit"] });
  const exited = once(child, "exit");
  const [chunk] = (await once(child.stdout, "data")) as [Buffer];
  child.kill("SIGKILL");
  await exited;
  const promised = Number(String(chunk).trim().split("\n").at(-1));
  const events = [...readHistory(dir)];
  expect(promised).toBeGreaterThan(0);
  expect(events.length).toBeGreaterThanOrEqual(promised);
});

it("leaves out the torn last line of a killed process", () => {
  const writer = openHistory(dir, "web");
  writer.record([publish("a", 1), publish("b", 2)]);
  writer.close();
  appendFileSync(join(dir, "web.jsonl"), '{"i":2,"t":17,"pro');
  expect([...readHistory(dir)]).toHaveLength(2);
});

it("refuses to continue a history, to write after closing, and names that are no file names", () => {
  const writer = openHistory(dir, "web");
  expect(() => openHistory(dir, "web")).toThrow(/EEXIST/);
  writer.close();
  writer.close();
  expect(() => writer.record(publish("a", 1))).toThrow(HistoryError);
  expect(() => openHistory(dir, "../web")).toThrow(HistoryError);
});

const good = `{"i":0,"t":1,"process":"web",${JSON.stringify(publish("a", 1)).slice(1)}`;
it.each([
  ["not JSON", "{oops", /web\.jsonl:2: not JSON/],
  ["no event", "null", /web\.jsonl:2: not an event/],
  ["an unknown kind", good.replace('"i":0', '"i":1').replace("invoke", "begin"), /no event has f "publish" with type "begin"/],
  ["a missing field", good.replace('"i":0', '"i":1').replace('"hash":"h"', '"x":1'), /"hash" should be string/],
  ["a hole", good.replace('"i":0', '"i":5'), /event 5 stands where event 1 should/],
  ["another process", good.replace('"i":0', '"i":1').replace('"web"', '"worker"'), /an event of worker in the history of web/],
  ["a crash of nobody", '{"i":1,"t":2,"process":"web","f":"crash","type":"info","unit":"process"}', /names it as "target"/],
])("names file and line of a line that is %s", (_, line, message) => {
  writeFileSync(join(dir, "web.jsonl"), `${good}\n${line}\n${good}\n`);
  expect(() => [...readHistory(dir)]).toThrow(HistoryError);
  expect(() => [...readHistory(dir)]).toThrow(message);
});

it("refuses a folder without a history", () => {
  expect(() => [...readHistory(dir)]).toThrow(/holds no history/);
});

it("comes to the same verdict over files as over events", () => {
  const { events, claims } = simulate({ seed: 4, messages: 200 });
  const lines = new Map<string, string>();
  for (const event of events) lines.set(event.process, `${lines.get(event.process) ?? ""}${JSON.stringify(event)}\n`);
  for (const [name, text] of lines) writeFileSync(join(dir, `${name}.jsonl`), text);
  expect(check(readHistory(dir), claims)).toEqual(check(events, claims));
});

it("refuses a history that contradicts itself", () => {
  const { claims } = simulate({ seed: 4, messages: 10 });
  const at = (i: number, event: HistoryRecord): { readonly i: number; readonly t: number; readonly process: string } & HistoryRecord => ({
    i,
    t: i,
    process: "web",
    ...event,
  });
  expect(() => check([at(0, publish("a", 1)), at(1, { ...publish("a", 2), hash: "other" } as HistoryRecord)], claims)).toThrow(
    /other content/,
  );
  expect(() => check([at(0, { type: "ok", f: "publish", topic: "orders", id: "a" })], claims)).toThrow(/without having begun/);
  expect(() => check([at(0, { type: "ok", f: "crash", unit: "broker" })], claims)).toThrow(/never began/);
});

it("prints a table for people that ends in the verdict and its reasons", () => {
  const { events, claims } = simulate({ seed: 4, messages: 50 });
  const text = formatVerdict(check(events, claims));
  expect(text).toMatch(/published 50: \d+ acknowledged/);
  expect(text).toMatch(/ +orders\/billing +orders\/audit +all\n/);
  expect(text).toMatch(/\nvalid\n$/);
  const broken = formatVerdict(
    check(
      events.filter((event) => event.f === "publish"),
      claims,
    ),
  );
  expect(broken).toMatch(/NOT VALID\n {2}orders\/billing: \d+ lost \(m\d+ .*; …\)\n/);
  expect(broken).toMatch(/note: orders\/audit: received nothing/);
  const json = JSON.parse(JSON.stringify(check(events, claims)));
  expect(json.valid).toBe(true);
});

it("digests content, text and bytes alike", () => {
  expect(hashOf("ü")).toBe(hashOf(Buffer.from("ü")));
  expect(hashOf("a")).not.toBe(hashOf("b"));
  expect(hashOf("a")).toMatch(/^[0-9a-f]{32}$/);
});
