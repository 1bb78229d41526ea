/** What one measurement took. */
export interface Measure {
  readonly count: number;
  /** Wall time. */
  readonly ms: number;
  /** CPU time of the client's process, user and system. */
  readonly cpuMs: number;
}

/**
 * Runs `work` over `count` messages, and says what it took. Garbage is never collected by force before: V8 then forgets the shapes of
 * objects that are not there at the moment, and with them the code that it had optimised; each round would pay some 100 ms to get it back.
 */
export async function metered(count: number, work: () => Promise<void>): Promise<Measure> {
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { count, ms, cpuMs: (user + system) / 1_000 };
}
