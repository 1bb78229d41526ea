/** What a note of ours begins with: other tools may leave something else in a commit. */
const HEAD = "done:";

interface Run {
  first: number;
  last: number;
}

/** Offsets of one partition, kept as runs: as many numbers as there are gaps, however many offsets. */
export class Ranges {
  readonly #runs: Run[] = [];

  /** What `text` said of the offsets from `from` on; nothing where somebody else wrote it. */
  static parse(text: string | null | undefined, from: number): Ranges {
    const ranges = new Ranges();
    if (text === null || text === undefined || !/^done:(?:[0-9a-z]{1,10}(?:\+[0-9a-z]{1,10})?,)*$/.test(text)) return ranges;
    let next = from;
    for (const run of text.slice(HEAD.length).split(",").slice(0, -1)) {
      const [gap = "0", more = "0"] = run.split("+");
      const first = next + Number.parseInt(gap, 36);
      const last = first + Number.parseInt(more, 36);
      ranges.#runs.push({ first, last });
      next = last + 1;
    }
    return ranges;
  }

  /** A text of at most `most` characters; what does not fit any more is left out, the highest first. `undefined`: there is nothing to say. */
  text(from: number, most: number): string | undefined {
    let text = HEAD;
    let next = from;
    for (const { first, last } of this.#runs) {
      if (first < next) continue;
      const more = last > first ? `+${(last - first).toString(36)}` : "";
      const run = `${(first - next).toString(36)}${more},`;
      if (text.length + run.length > most) break;
      text += run;
      next = last + 1;
    }
    return text === HEAD ? undefined : text;
  }

  has(offset: number): boolean {
    const run = this.#runs[this.#behind(offset) - 1];
    return run !== undefined && offset <= run.last;
  }

  add(offset: number): void {
    const at = this.#behind(offset);
    const [before, after] = [this.#runs[at - 1], this.#runs[at]];
    if (before !== undefined && offset <= before.last) return;
    const joins = after?.first === offset + 1;
    if (before?.last === offset - 1) {
      before.last = joins ? after.last : offset;
      if (joins) this.#runs.splice(at, 1);
    } else if (joins) after.first = offset;
    else this.#runs.splice(at, 0, { first: offset, last: offset });
  }

  /** Forgets everything before this offset. */
  dropBefore(offset: number): void {
    let over = 0;
    while ((this.#runs[over]?.last ?? offset) < offset) over++;
    this.#runs.splice(0, over);
    const [run] = this.#runs;
    if (run !== undefined && run.first < offset) run.first = offset;
  }

  /** Where the first run is that begins behind this offset. */
  #behind(offset: number): number {
    let [low, high] = [0, this.#runs.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#runs[middle] as Run).first <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
