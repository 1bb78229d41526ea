import type { Finding } from "./verdict.ts";

const shown = 5;

/** Counts what a judge finds and keeps the first few in words; the words are only made when they are kept. */
export class Tally implements Finding {
  count = 0;
  readonly examples: string[] = [];

  add(words: () => string, times = 1): void {
    this.count += times;
    if (this.examples.length < shown) this.examples.push(words());
  }

  finding(): Finding {
    return { count: this.count, examples: this.examples };
  }
}

/** A finding of a list that already stands in words. */
export function findingOf(all: readonly string[]): Finding {
  return { count: all.length, examples: all.slice(0, shown) };
}

/** The findings of several groups as one. */
export function sumFindings(all: readonly Finding[]): Finding {
  let count = 0;
  for (const finding of all) count += finding.count;
  return { count, examples: all.flatMap((finding) => finding.examples).slice(0, shown) };
}
