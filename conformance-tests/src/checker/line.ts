import { HistoryError, type HistoryEvent, type HistoryRecord } from "./event.ts";

type Fields = Readonly<Record<string, unknown>>;
type Kind = "string" | "number" | "string?" | "number?" | "number|null";

// The fields of each event, by `f:type`. What is not listed is not an event.
const settle = { topic: "string", group: "string", id: "string", run: "number?" } as const;
const published = { topic: "string", id: "string", position: "string?" } as const;
const crash = { unit: "string", target: "string?", topic: "string?", group: "string?", shard: "string?" } as const;
const shapes: Readonly<Record<`${HistoryRecord["f"]}:${HistoryRecord["type"]}`, readonly Readonly<Record<string, Kind>>[]>> = {
  "publish:invoke": [{ topic: "string", key: "string?", id: "string", seq: "number", hash: "string" }],
  "publish:ok": [published],
  "publish:fail": [published],
  "publish:info": [published],
  "receive:ok": [{ topic: "string", group: "string", key: "string?", id: "string", hash: "string", position: "string?", run: "number?" }],
  "receive:info": [{ topic: "string", group: "string", lost: "number|null" }],
  "receive:invoke": [],
  "receive:fail": [],
  "done:ok": [settle],
  "done:fail": [settle],
  "done:invoke": [],
  "done:info": [],
  "ack:invoke": [settle],
  "ack:ok": [settle],
  "ack:fail": [settle],
  "ack:info": [settle],
  "nack:invoke": [settle],
  "nack:ok": [settle],
  "nack:fail": [settle],
  "nack:info": [settle],
  "crash:info": [crash],
  "crash:ok": [crash],
  "crash:invoke": [],
  "crash:fail": [],
};
const units = ["process", "broker", "shard"];

function fits(value: unknown, kind: Kind): boolean {
  switch (kind) {
    case "string":
      return typeof value === "string";
    case "string?":
      return value === undefined || typeof value === "string";
    case "number":
      return Number.isFinite(value);
    case "number?":
      return value === undefined || Number.isFinite(value);
    case "number|null":
      return value === null || (Number.isInteger(value) && Number(value) >= 0);
  }
}

function complaint(event: Fields): string | undefined {
  for (const name of ["i", "t"]) if (!Number.isFinite(event[name])) return `"${name}" is not a number`;
  if (typeof event["process"] !== "string") return `"process" is not a string`;
  const shape = (shapes as Readonly<Record<string, readonly Readonly<Record<string, Kind>>[]>>)[`${event["f"]}:${event["type"]}`]?.[0];
  if (shape === undefined) return `no event has f "${event["f"]}" with type "${event["type"]}"`;
  for (const name in shape) {
    const kind = shape[name];
    if (kind !== undefined && !fits(event[name], kind)) return `"${name}" should be ${kind.replace("?", " or absent")}`;
  }
  if (event["f"] === "crash") {
    if (!units.includes(String(event["unit"]))) return `"unit" should be one of ${units.join(", ")}`;
    if (event["unit"] === "process" && event["target"] === undefined) return `a crash of a process names it as "target"`;
  }
  return undefined;
}

/**
 * Reads one line of a history.
 * @param where file and line, for the error
 * @throws HistoryError that says where and what
 */
export function parseLine(text: string, where: string): HistoryEvent {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new HistoryError(`${where}: not JSON`, { cause: error });
  }
  if (typeof value !== "object" || value === null) throw new HistoryError(`${where}: not an event`);
  const wrong = complaint(value as Fields);
  if (wrong !== undefined) throw new HistoryError(`${where}: ${wrong}`);
  return value as HistoryEvent;
}
