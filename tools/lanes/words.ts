import { stripVTControlCharacters } from "node:util";

const HIDDEN = "***";
/** Names of settings whose values are nobody's business, and the length below which a value is no secret but a word of any text. */
const [SECRET, SHORTEST] = [/TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|PRIVATE|API_?KEY|ACCESS_?KEY/i, 8];

/**
 * What a test or another tool said, as it may stand in a log: without colours, without who signs in to a URL, without the values of this
 * process's secret settings.
 */
export function plainWords(text: string, env: NodeJS.ProcessEnv = process.env): string {
  let words = stripVTControlCharacters(text).replace(/(\b[a-z][a-z0-9+.-]*:\/\/)[^\s/@?#]+@/gi, `$1${HIDDEN}@`);
  for (const [name, value = ""] of Object.entries(env)) {
    if (SECRET.test(name) && value.length >= SHORTEST) words = words.replaceAll(value, HIDDEN);
  }
  return words;
}

/** At most so many of the lines that say something: the first ones, how many are left out, and the last third of what there is room for. */
export function shortened(text: string, lines: number): string {
  const said = text.split("\n").filter((line) => line.trim() !== "");
  if (said.length <= lines) return said.join("\n");
  const last = Math.floor(lines / 3);
  const first = Math.max(1, lines - last - 1);
  const left = said.length - first - last;
  return [...said.slice(0, first), `… ${left} more lines …`, ...said.slice(said.length - last)].join("\n");
}
