import type { WireHeader } from "../driver/wire.ts";
import { invalidArgument } from "../errors.ts";
import { lossyText } from "./text.ts";

/** What every backend can carry: no separators of any header syntax, dots only between other characters. */
const NAME = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/;
const MAX_NAME = 200;
/** Names that begin so belong to brokerkit, in any case of letters: some backends ignore it. */
const RESERVED = "brokerkit-";
const INJECTION = /[\r\n\0]/;

const NO_WIRE: readonly WireHeader[] = Object.freeze([]);
const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);

/**
 * An application's headers as the wire has them, then those of `extra` that the application has not set itself.
 * Throws `INVALID_ARGUMENT` for more than `max` in all, for names that not every backend takes, and for values with CR, LF or NUL.
 */
export function encodeHeaders(
  headers: Readonly<Record<string, string>> | undefined,
  extra: readonly WireHeader[] = NO_WIRE,
  max: number = Number.POSITIVE_INFINITY,
): readonly WireHeader[] {
  if (headers === undefined) return checkCount(extra, max);
  if (typeof headers !== "object" || headers === null || Array.isArray(headers)) {
    throw invalidArgument("headers", "headers must be an object of strings.");
  }
  const names = Object.keys(headers);
  if (names.length === 0) {
    // A Map or Headers has no keys of its own: all that it holds would be left out without a word.
    if (Symbol.iterator in headers) {
      throw invalidArgument("headers", "headers must be a plain object of strings; write Object.fromEntries(headers).");
    }
    return checkCount(extra, max);
  }
  const wire: WireHeader[] = [];
  for (const name of names) {
    checkName(name);
    wire.push([name, encodeValue(name, headers[name])]);
  }
  for (const header of extra) {
    if (!Object.hasOwn(headers, header[0])) wire.push(header);
  }
  return checkCount(wire, max);
}

function checkCount(wire: readonly WireHeader[], max: number): readonly WireHeader[] {
  if (wire.length <= max) return wire;
  throw invalidArgument("headers", `${wire.length} headers are too many: the backend takes ${max}, those of brokerkit included.`);
}

function checkName(name: string): void {
  if (name.length > MAX_NAME || !NAME.test(name)) {
    throw invalidArgument(
      "headers",
      `${JSON.stringify(name.slice(0, 80))} can't be a header's name: use 1–${MAX_NAME} of A–Z a–z 0–9 _ - and single dots between them.`,
    );
  }
  if (isReserved(name))
    throw invalidArgument("headers", `The header "${name}" is reserved: names beginning with "${RESERVED}" are brokerkit's own.`);
}

function encodeValue(name: string, value: unknown): Uint8Array {
  if (typeof value !== "string") {
    throw invalidArgument("headers", `The header "${name}" must be a string, got ${value === null ? "null" : typeof value}.`);
  }
  if (INJECTION.test(value))
    throw invalidArgument("headers", `The header "${name}" holds a line break or NUL: no backend carries them safely.`);
  if (!value.isWellFormed())
    throw invalidArgument("headers", `The header "${name}" is no well-formed text: it holds half of a surrogate pair.`);
  return Buffer.from(value);
}

/** Whether a header is brokerkit's own. */
export function isReserved(name: string): boolean {
  const first = name.charCodeAt(0) | 0x20;
  return first === 0x62 && name.slice(0, RESERVED.length).toLowerCase() === RESERVED;
}

/** Headers as text: the last of a repeated name, brokerkit's own left out, what is no UTF-8 replaced. Without a prototype. */
export function decodeHeaders(wire: readonly WireHeader[]): Readonly<Record<string, string>> {
  let headers: Record<string, string> | undefined;
  for (const [name, value] of wire) {
    if (isReserved(name)) continue;
    headers ??= Object.create(null) as Record<string, string>;
    headers[name] = lossyText(value);
  }
  return headers ?? NO_HEADERS;
}
