/** What one measurement took. */
export interface Measure {
  readonly count: number;
  /** Wall time. */
  readonly ms: number;
  /** CPU time of the client's process, user and system. */
  readonly cpuMs: number;
}

/** Lets garbage of what came before be nobody's bill; needs --expose-gc. */
export function collectGarbage(): void {
  globalThis.gc?.();
}

/** Runs `work` over `count` messages, and says what it took. */
export async function metered(count: number, work: () => Promise<void>): Promise<Measure> {
  collectGarbage();
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { count, ms, cpuMs: (user + system) / 1_000 };
}
