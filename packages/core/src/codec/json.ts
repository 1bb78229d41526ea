import { invalidArgument } from "../errors.ts";
import type { Codec } from "../message.ts";
import { exactText } from "./text.ts";

/** Arrays and objects within each other; deeper bodies are refused, both ways. */
const MAX_DEPTH = 100;

/** A JSON codec that refuses nesting beyond `maxDepth`, and keys through which a later merge would reach a prototype. */
export function makeJsonCodec(maxDepth: number): Codec {
  return Object.freeze({
    contentType: "application/json",
    encode(value: unknown): Uint8Array {
      const text = stringify(value);
      if (isTooDeep(text, maxDepth)) throw invalidArgument("payload", `The payload is nested more than ${maxDepth} levels deep.`);
      if (isSuspect(text)) {
        const fault = findHostileKey(JSON.parse(text));
        if (fault !== undefined) throw invalidArgument("payload", `The payload has a key ${fault}, which no receiver would accept.`);
      }
      return Buffer.from(text);
    },
    decode(bytes: Uint8Array): unknown {
      const text = exactText(bytes);
      if (text === undefined) throw new Error("The body is no JSON: it is no UTF-8.");
      if (isTooDeep(text, maxDepth)) throw new Error(`The body is nested more than ${maxDepth} levels deep.`);
      const value = parse(text);
      if (isSuspect(text)) {
        const fault = findHostileKey(value);
        if (fault !== undefined) throw new Error(`The body has a key ${fault}, which is refused: it could reach a prototype.`);
      }
      return value;
    },
  });
}

/** The default codec. */
export const jsonCodec: Codec = makeJsonCodec(MAX_DEPTH);

function stringify(value: unknown): string {
  if (ArrayBuffer.isView(value)) {
    throw invalidArgument("payload", 'The payload is bytes, and the topic\'s codec is JSON. Define the topic with codec: "bytes".');
  }
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    const why = error instanceof Error ? (error.message.split("\n", 1)[0] ?? "").slice(0, 200) : "its toJSON threw";
    throw invalidArgument("payload", `The payload can't be written as JSON: ${why}.`);
  }
  if (text === undefined) throw invalidArgument("payload", `The payload can't be written as JSON: it is ${typeof value}.`);
  // JSON has no way to write these, and says so by an empty object or null; a receiver would get that instead.
  const lost = text === "{}" ? emptied(value) : text === "null" ? nulled(value) : undefined;
  if (lost !== undefined) throw invalidArgument("payload", `The payload can't be written as JSON: it is ${lost}.`);
  return text;
}

function emptied(value: unknown): string | undefined {
  if (value instanceof Promise) return "a promise; await it first";
  if (value instanceof Map) return "a Map; write Object.fromEntries(map)";
  if (value instanceof Set) return "a Set; write [...set]";
  if (value instanceof ArrayBuffer) return 'an ArrayBuffer; define the topic with codec: "bytes" and give a Uint8Array';
  return value instanceof Error ? "an Error; give what is to be told of it" : undefined;
}

function nulled(value: unknown): string | undefined {
  if (typeof value === "number") return String(value);
  return value instanceof Date ? "an invalid Date" : undefined;
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    // The engine's message quotes the body, which may hold what no log should; only the position is kept.
    const at = /at position (\d+)/.exec(error instanceof Error ? error.message : "")?.[1];
    throw new Error(
      `The body is no JSON: ${at === undefined ? "it ends early or begins wrong" : `stopped at character ${at}`} of ${text.length}.`,
    );
  }
}

/** Whether brackets outside of strings nest deeper than `max`. Reads the text only where it can matter. */
function isTooDeep(text: string, max: number): boolean {
  // Deeper than `max` and valid takes at least as many closing brackets; the parser itself refuses what is unbalanced.
  if (text.length <= 2 * max) return false;
  return countOpening(text, max) > max && measureDepth(text, max) > max;
}

/** How many opening brackets there are, in strings too, as an upper bound of the depth; stops above `max`. */
function countOpening(text: string, max: number): number {
  let count = 0;
  for (const bracket of ["{", "["]) {
    for (let at = text.indexOf(bracket); at !== -1; at = text.indexOf(bracket, at + 1)) {
      if (++count > max) return count;
    }
  }
  return count;
}

/** The depth of nesting, strings left out; stops above `max`. */
function measureDepth(text: string, max: number): number {
  let depth = 0;
  let deepest = 0;
  for (let at = 0; at < text.length; at++) {
    const char = text.charCodeAt(at);
    if (char === 0x22) {
      at = endOfString(text, at);
    } else if (char === 0x7b || char === 0x5b) {
      if (++depth > deepest) deepest = depth;
      if (deepest > max) return deepest;
    } else if (char === 0x7d || char === 0x5d) depth--;
  }
  return deepest;
}

/** The index of the quote that ends the string beginning at `start`, or the text's end. */
function endOfString(text: string, start: number): number {
  for (let quote = text.indexOf('"', start + 1); quote !== -1; quote = text.indexOf('"', quote + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === 0x5c) backslashes++;
    if (backslashes % 2 === 0) return quote;
  }
  return text.length;
}

/** Whether a hostile key is possible: "__proto__" and "prototype" both hold "proto", unless written with escapes. */
function isSuspect(text: string): boolean {
  return text.includes("proto") || text.includes("\\u00");
}

function findHostileKey(value: unknown): string | undefined {
  if (typeof value !== "object" || value === null) return undefined;
  if (Object.hasOwn(value, "__proto__")) return '"__proto__"';
  const made: unknown = Object.hasOwn(value, "constructor") ? (value as { constructor: unknown }).constructor : undefined;
  if (typeof made === "object" && made !== null && Object.hasOwn(made, "prototype")) return '"constructor.prototype"';
  for (const child of Object.values(value)) {
    const fault = findHostileKey(child);
    if (fault !== undefined) return fault;
  }
  return undefined;
}
