import { fileURLToPath } from "node:url";
import { runCommand } from "./command.ts";

process.exitCode = await runCommand(process.argv.slice(2), {
  adapters: fileURLToPath(new URL("../../../adapters", import.meta.url)),
  env: process.env,
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
});
