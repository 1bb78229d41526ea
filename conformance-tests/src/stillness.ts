// Times by which a test bounds what is under test, and not the machine that it runs on.

const BEAT_MS = 10;
/** A gap between two beats that is no stillness yet: a timer may be late. */
const GAP_MS = 2 * BEAT_MS;
/** Nothing is bounded over a longer time. */
const KEPT_MS = 15 * 60_000;

interface Stillness {
  readonly from: number;
  readonly to: number;
}

let last = performance.now();
const known: Stillness[] = [];

setInterval(() => {
  const t = performance.now();
  if (t - last > GAP_MS) known.push({ from: last + BEAT_MS, to: t });
  last = t;
  while (known[0] !== undefined && known[0].to < t - KEPT_MS) known.shift();
}, BEAT_MS).unref();

/**
 * Ms from one `performance.now()` to another (default: now), without those in which this process stood still because the machine gave it
 * no time. For upper bounds: a lower one is about the clock on the wall.
 */
export function ranFor(began: number, ended: number = performance.now()): number {
  const both = (from: number, to: number): number => Math.max(0, Math.min(to, ended) - Math.max(from, began));
  const t = performance.now();
  let still = t - last > GAP_MS ? both(last + BEAT_MS, t) : 0;
  // The newest first: who polls asks about the last seconds.
  for (let n = known.length - 1; n >= 0; n--) {
    const { from, to } = known[n] as Stillness;
    if (to <= began) break;
    still += both(from, to);
  }
  return ended - began - still;
}
