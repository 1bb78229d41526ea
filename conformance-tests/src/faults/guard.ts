import { type ChildProcess, spawn } from "node:child_process";
import { Socket } from "node:net";

/**
 * A tiny shell, one for all children of this process, that outlives it by a moment. It reads commands from a pipe; the pipe ends when this
 * process ends, however that happens, and then the shell kills every process group and removes every path that it still knows of.
 */
const program = `
trap '' HUP INT TERM
groups=' '
paths=''
while read -r op what; do
  case $op in
    group) groups="$groups$what " ;;
    gone) groups=$(printf %s "$groups" | sed "s/ $what / /") ;;
    path) paths="$paths$what
" ;;
    free) paths=$(printf %s "$paths" | grep -vxF -- "$what"; echo .); paths=\${paths%.} ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
printf %s "$paths" | while read -r path; do rm -rf -- "$path"; done
`;

let guard: ChildProcess | undefined;
/** What the guard knows, as the commands that told it: a new one, should the old one have died, is told the same. */
const known = new Set<string>();

function start(): ChildProcess {
  // Detached: a Ctrl-C in the terminal must not end the guard before its work is done.
  const child = spawn("/bin/sh", ["-c", program], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined);
  child.unref();
  // Underneath is a socket, which must not keep this process alive either.
  if (child.stdin instanceof Socket) child.stdin.unref();
  for (const line of known) child.stdin.write(line);
  return child;
}

function tell(line: string): Promise<void> {
  if (guard === undefined || guard.exitCode !== null || guard.signalCode !== null) guard = start();
  const { stdin } = guard;
  return new Promise((resolve, reject) => {
    if (stdin === null) reject(new Error("the guard of child processes has no input"));
    else stdin.write(line, (error) => (error ? reject(error) : resolve()));
  });
}

function keep(line: string): Promise<void> {
  known.add(line);
  return tell(line);
}

function release(line: string, undo: string): Promise<void> {
  return known.delete(line) ? tell(undo) : Promise.resolve();
}

function onOneLine(path: string): string {
  if (!path.startsWith("/") || path.includes("\n")) throw new Error(`not a path that can be guarded: ${JSON.stringify(path)}`);
  return path;
}

/** Has the process group killed when this process ends. Resolves when that is certain. */
export function guardGroup(pid: number): Promise<void> {
  return keep(`group ${pid}\n`);
}

/** The group has ended; its number may soon belong to somebody else. */
export function releaseGroup(pid: number): Promise<void> {
  return release(`group ${pid}\n`, `gone ${pid}\n`);
}

/** Has the file or folder (an absolute path) removed when this process ends. */
export function guardPath(path: string): Promise<void> {
  return keep(`path ${onOneLine(path)}\n`);
}

/** The file or folder is no longer this process's to remove. */
export function releasePath(path: string): Promise<void> {
  return release(`path ${path}\n`, `free ${path}\n`);
}
