import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { StringDecoder } from "node:string_decoder";
import { HistoryError, type HistoryEvent } from "./event.ts";
import { parseLine } from "./line.ts";

const chunkBytes = 1 << 16;

/** The whole lines of a file. What follows the last line feed was cut off in mid-write, before its writer acted on it: it is left out. */
function* lines(path: string): Generator<string, void> {
  const file = openSync(path, "r");
  try {
    const chunk = Buffer.allocUnsafe(chunkBytes);
    const decoder = new StringDecoder("utf8");
    let rest = "";
    for (;;) {
      const size = readSync(file, chunk, 0, chunkBytes, null);
      if (size === 0) return;
      const parts = (rest + decoder.write(chunk.subarray(0, size))).split("\n");
      rest = parts.pop() ?? "";
      yield* parts;
    }
  } finally {
    closeSync(file);
  }
}

function* eventsOf(path: string): Generator<HistoryEvent, void> {
  let count = 0;
  let process: string | undefined;
  for (const line of lines(path)) {
    const where = `${path}:${count + 1}`;
    const event = parseLine(line, where);
    if (event.i !== count) throw new HistoryError(`${where}: event ${event.i} stands where event ${count} should: the history has a hole`);
    process ??= event.process;
    if (event.process !== process) throw new HistoryError(`${where}: an event of ${event.process} in the history of ${process}`);
    count++;
    yield event;
  }
}

interface Head {
  event: HistoryEvent;
  t: number;
  readonly rest: Generator<HistoryEvent, void>;
}

/**
 * Streams the events of all `*.jsonl` files of a folder, merged by time; one process's events keep their own order.
 * Memory: one line per file.
 * @throws HistoryError when the folder holds no history, a whole line is not an event, or a process's count has a hole
 */
export function* readHistory(dir: string): Generator<HistoryEvent, void> {
  const files = readdirSync(dir).filter((name) => name.endsWith(".jsonl"));
  if (files.length === 0) throw new HistoryError(`${dir} holds no history: no *.jsonl file`);
  const heads: Head[] = [];
  try {
    for (const name of files.sort()) {
      const rest = eventsOf(join(dir, name));
      const first = rest.next();
      if (!first.done) heads.push({ event: first.value, t: first.value.t, rest });
    }
    for (let least = heads[0]; least !== undefined; least = heads[0]) {
      for (const head of heads) if (head.t < least.t) least = head;
      yield least.event;
      const next = least.rest.next();
      if (next.done) heads.splice(heads.indexOf(least), 1);
      else {
        least.event = next.value;
        // A clock set back must not reorder one process's own events.
        least.t = Math.max(least.t, next.value.t);
      }
    }
  } finally {
    for (const head of heads) head.rest.return();
  }
}
