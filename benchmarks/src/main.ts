import { runCommand } from "./run/command.ts";

process.exitCode = await runCommand(process.argv.slice(2), {
  log: (text) => console.error(`bench: ${text}`),
  out: (text) => console.log(text),
});
