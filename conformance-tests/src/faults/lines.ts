import { StringDecoder } from "node:string_decoder";

const keptLines = 2_000;

/** The lines that a process has written, the newest ones kept, and who waits for one. */
export class Lines {
  readonly #decoder = new StringDecoder("utf8");
  readonly #kept: string[] = [];
  readonly #waiting = new Set<(line: string) => void>();
  #rest = "";
  /** Index in `#kept` behind the last line that somebody waited for. */
  #seen = 0;

  push(chunk: Buffer): void {
    const parts = (this.#rest + this.#decoder.write(chunk)).split("\n");
    this.#rest = parts.pop() ?? "";
    for (const part of parts) this.#add(part.endsWith("\r") ? part.slice(0, -1) : part);
  }

  /** The output has ended: what has no line feed is a line too. */
  end(): void {
    if (this.#rest !== "") this.#add(this.#rest);
    this.#rest = "";
  }

  #add(line: string): void {
    this.#kept.push(line);
    if (this.#kept.length > keptLines) {
      this.#kept.shift();
      this.#seen = Math.max(0, this.#seen - 1);
    }
    for (const tell of [...this.#waiting]) tell(line);
  }

  /** The next line that fits, among those not yet passed over by an earlier call. */
  take(fits: (line: string) => boolean): string | undefined {
    const at = this.#kept.findIndex((line, n) => n >= this.#seen && fits(line));
    if (at < 0) return undefined;
    this.#seen = at + 1;
    return this.#kept[at];
  }

  /** Calls `tell` for each new line until the returned function is called. */
  listen(tell: (line: string) => void): () => void {
    this.#waiting.add(tell);
    return () => this.#waiting.delete(tell);
  }

  tail(count: number): string {
    return this.#kept.slice(-count).join("\n");
  }
}
