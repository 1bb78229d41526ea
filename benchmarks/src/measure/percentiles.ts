/** Delays of one round, ms. */
export interface Delays {
  readonly perSecond: number;
  readonly count: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

/** Percentiles of `took`, of which the first tenth is thrown away as warm-up. */
export function delaysOf(took: Float64Array, perSecond: number): Delays {
  const sorted = took.slice(Math.floor(took.length / 10)).sort();
  const at = (part: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? Number.NaN;
  return { perSecond, count: sorted.length, p50: at(0.5), p99: at(0.99), p999: at(0.999), max: sorted.at(-1) ?? Number.NaN };
}
