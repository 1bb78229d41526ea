// What people see: story lines, one moving line of progress on a terminal, tables. Colours on a terminal only.
import type { WriteStream } from "node:tty";
import { stripVTControlCharacters, styleText } from "node:util";

type Style = "bold" | "dim" | "green" | "red" | "yellow" | "cyan";

export interface Progress {
  readonly done: number;
  readonly total: number;
  /** What stands behind the bar. */
  readonly text: string;
}

const BAR = 24;
/** Without a terminal, one line for each so many per cent. */
const PLAIN_STEP = 20;
/** Story lines wrap here, or at the terminal's edge. */
const WIDTH = 110;
const LABEL = 12;

export class Screen {
  readonly #out: NodeJS.WritableStream & Partial<Pick<WriteStream, "isTTY" | "columns" | "getColorDepth">>;
  readonly #colours: boolean;
  #bar: Progress | undefined;
  #said = -1;

  constructor(out: NodeJS.WriteStream = process.stdout) {
    this.#out = out;
    this.#colours = out.isTTY === true && process.env["NO_COLOR"] === undefined && process.env["TERM"] !== "dumb";
  }

  paint(style: Style, text: string): string {
    return this.#colours ? styleText(style, text, { validateStream: false }) : text;
  }

  /** One line of the story: what happens, and below it why it matters. */
  story(label: string, what: string, why?: string): void {
    this.#clear();
    const width = this.#width() - LABEL;
    const lines = [...wrap(what, width), ...(why === undefined ? [] : wrap(why, width).map((line) => this.paint("dim", line)))];
    for (const [n, line] of lines.entries()) {
      const head = n === 0 ? this.paint("cyan", label.padEnd(LABEL)) : " ".repeat(LABEL);
      this.#write(`${head}${line}\n`);
    }
    this.#draw();
  }

  line(text = ""): void {
    this.#clear();
    this.#write(`${text}\n`);
    this.#draw();
  }

  /** Draws the bar anew; without a terminal it says how far things are now and then. `undefined` ends it. */
  progress(now: Progress | undefined): void {
    if (this.#out.isTTY === true) {
      this.#clear();
      this.#bar = now;
      this.#draw();
      return;
    }
    if (now === undefined) return;
    const step = Math.floor((now.done / now.total) * (100 / PLAIN_STEP));
    if (step <= this.#said) return;
    this.#said = step;
    this.#write(`${"progress".padEnd(LABEL)}${percent(now)}  ${now.text}\n`);
  }

  /** A table: first column to the left, the others as `right` says. */
  table(rows: readonly (readonly string[])[], o: { readonly right: boolean }): void {
    const widths: number[] = [];
    for (const row of rows) for (const [n, cell] of row.entries()) widths[n] = Math.max(widths[n] ?? 0, visible(cell));
    for (const row of rows) {
      const cells = row.map((cell, n) => {
        const room = " ".repeat((widths[n] ?? 0) - visible(cell));
        return n > 0 && o.right ? room + cell : cell + room;
      });
      this.line(`  ${cells.join("   ").trimEnd()}`);
    }
  }

  /** A terminal that does not know its width says 0. */
  #width(): number {
    return Math.max(40, Math.min(WIDTH, this.#out.columns || WIDTH));
  }

  #draw(): void {
    if (this.#bar === undefined) return;
    const full = Math.round((Math.min(this.#bar.done, this.#bar.total) / this.#bar.total) * BAR);
    const bar = this.paint("green", "█".repeat(full)) + this.paint("dim", "░".repeat(BAR - full));
    const room = Math.max(10, this.#width() - BAR - 9);
    this.#write(`${bar} ${percent(this.#bar)}  ${this.#bar.text.slice(0, room)}`);
  }

  #clear(): void {
    if (this.#bar !== undefined) this.#write("\r\x1b[2K");
  }

  #write(text: string): void {
    this.#out.write(text);
  }
}

function percent({ done, total }: Progress): string {
  return `${Math.floor((Math.min(done, total) / total) * 100)} %`.padStart(5);
}

function visible(text: string): number {
  return stripVTControlCharacters(text).length;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + 1 + word.length > width) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}

/** 12345 → "12,345". */
export function number(value: number): string {
  return value.toLocaleString("en-US");
}

/** `1 order`, `2 orders`. */
export function count(value: number, one: string): string {
  return `${number(value)} ${one}${value === 1 ? "" : "s"}`;
}
