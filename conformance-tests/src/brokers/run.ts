import { spawn } from "node:child_process";

/** Runs a command and resolves with its standard output. Rejects with the end of its error output when its code is not 0. */
export function run(
  command: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.once("error", reject);
    child.once("close", (code, signal) => {
      if (code === 0) return resolve(Buffer.concat(out).toString());
      const said = Buffer.concat(err).toString().trim().split("\n").slice(-5).join("\n");
      reject(new Error(`${command} ${args.join(" ")} ended with ${signal ?? code}${said === "" ? "" : `: ${said}`}`));
    });
  });
}
