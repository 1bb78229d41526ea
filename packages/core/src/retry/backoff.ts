/** How long to wait before attempt n + 1. */
export interface Backoff {
  readonly initial: number;
  readonly factor: number;
  readonly max: number;
}

/** Milliseconds to wait after `failures` failures (from 1). Full jitter: evenly between 0 and the exponential step, so that a crowd spreads. */
export function backoffMs(backoff: Backoff, failures: number, jitter: "full" | "none"): number {
  const step = Math.min(backoff.max, backoff.initial * backoff.factor ** (failures - 1));
  return jitter === "full" ? Math.random() * step : step;
}
