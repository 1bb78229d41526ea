import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { identityOf, isAlive } from "./identity.ts";

let count = 0;

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

/** `link` fails where the name is taken, so the file appears whole and at once. */
function place(from: string, path: string): boolean {
  try {
    linkSync(from, path);
    return true;
  } catch (error) {
    if (codeOf(error) === "EEXIST") return false;
    throw error;
  }
}

/** Moves a dead process's claim out of the way. What turns out to be a live one, made in between, goes back. */
function clear(path: string, aside: string): void {
  try {
    renameSync(path, aside);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return;
    throw error;
  }
  if (isAlive(readFileSync(aside, "utf8"))) place(aside, path);
  rmSync(aside, { force: true });
}

/**
 * Claims a name between processes: makes the file `path`, which says who holds it. Whoever got true removes the file when done.
 * A claim whose holder is gone is taken over.
 * @returns whether the claim is ours; false when a live process (this one included) holds it
 */
export function claim(path: string): boolean {
  const owner = identityOf(process.pid);
  if (owner === undefined) throw new Error("this process cannot be identified");
  const draft = `${path}.${process.pid}-${count++}`;
  writeFileSync(draft, owner);
  try {
    if (place(draft, path)) return true;
    let holder: string;
    try {
      holder = readFileSync(path, "utf8");
    } catch (error) {
      if (codeOf(error) === "ENOENT") return place(draft, path);
      throw error;
    }
    if (isAlive(holder)) return false;
    clear(path, `${draft}-old`);
    return place(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
}
