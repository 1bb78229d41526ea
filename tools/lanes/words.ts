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

/** The first lines that say something; where others follow, the last of them says how many. */
export function shortened(text: string, lines: number): string {
  const said = text.split("\n").filter((line) => line.trim() !== "");
  if (said.length <= lines) return said.join("\n");
  const kept = Math.max(1, lines - 1);
  return [...said.slice(0, kept), `… and ${said.length - kept} more lines`].join("\n");
}
