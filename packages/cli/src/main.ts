#!/usr/bin/env node
import { answer } from "./cli.ts";

// A reader that has seen enough, such as `head`, is no failure.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
});

const { isTTY, columns } = process.stdout;
// A terminal that does not know its width says 0.
const width = (isTTY ? columns : Number(process.env["COLUMNS"])) || 100;
const colours = isTTY === true && !process.env["NO_COLOR"] && process.env["TERM"] !== "dumb";
const { code, out, err } = answer(process.argv.slice(2), { width: Math.max(50, Math.min(width, 120)), colours });
process.stdout.write(out);
process.stderr.write(err);
process.exitCode = code;
