// Which backend a word of the command line means.
import type { EffectiveCapabilities } from "brokerkit";
import { RECORDS } from "./records.generated.ts";

export interface Backend {
  readonly name: string;
  /** The npm package that has it. */
  readonly package: string;
  readonly capabilities: EffectiveCapabilities;
}

/** The command line makes no sense; the message says why. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

/** Every backend by its name. */
export const BACKENDS: readonly string[] = Object.keys(RECORDS);

/**
 * Finds a backend by its name, a URL scheme or a URL. Throws `UsageError`, which shows no part of a URL but its scheme: a URL may hold secrets.
 */
export function backendOf(word: string): Backend {
  const colon = word.indexOf(":");
  const name = (colon === -1 ? word : word.slice(0, colon)).toLowerCase();
  const found = Object.entries(RECORDS).find(([adapter, { schemes }]) => adapter === name || schemes.includes(name));
  if (found === undefined) throw unknown(name, colon === -1 ? "" : word.slice(colon + 1));
  const [adapter, { package: home, capabilities }] = found;
  return { name: adapter, package: home, capabilities };
}

function unknown(name: string, rest: string): UsageError {
  // In "name:secret@host" what looks like a scheme is a user's name.
  const shown = /^[a-z0-9+._-]{1,40}$/.test(name) && (rest.startsWith("//") || !rest.includes("@")) ? `"${name}"` : "That";
  const near = nearest(name, [...new Set(Object.entries(RECORDS).flatMap(([adapter, { schemes }]) => [adapter, ...schemes]))]);
  const hint = near === undefined ? "" : ` Did you mean ${near}?`;
  return new UsageError(`${shown} names no backend.${hint} Known: ${BACKENDS.join(", ")} (or a URL of one).`);
}

/** The candidate that `word` was most likely meant to be: about a third of its letters differ. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const most = Math.ceil(word.length / 3);
  const near = candidates.map((candidate) => ({ candidate, letters: lettersBetween(word, candidate) }));
  return near.filter(({ letters }) => letters <= most).sort((a, b) => a.letters - b.letters)[0]?.candidate;
}

/** How many letters must be put in, left out or replaced to make one word of the other. */
function lettersBetween(a: string, b: string): number {
  let above = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const line = [row];
    for (let column = 1; column <= b.length; column++) {
      const replaced = (above[column - 1] ?? 0) + (a[row - 1] === b[column - 1] ? 0 : 1);
      line.push(Math.min(replaced, (above[column] ?? 0) + 1, (line[column - 1] ?? 0) + 1));
    }
    above = line;
  }
  return above[b.length] ?? 0;
}
