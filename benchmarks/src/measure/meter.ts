import { cpus } from "node:os";

/** What one measurement took. */
export interface Measure {
  readonly count: number;
  /** Wall time. */
  readonly ms: number;
  /** CPU time of the client's process, user and system. */
  readonly cpuMs: number;
  /** How much of its core the broker used, 0 to 1: near 1 the broker is what limits. Only where it has a core to itself. */
  readonly broker?: number | undefined;
}

/**
 * Runs `work` over `count` messages, and says what it took. Garbage is never collected by force before: V8 then forgets the shapes of
 * objects that are not there at the moment, and with them the code that it had optimised; each round would pay some 100 ms to get it back.
 */
export async function metered(count: number, work: () => Promise<void>, brokerCore?: number): Promise<Measure> {
  const share = brokerCore === undefined ? undefined : busyShare(brokerCore);
  const cpu = process.cpuUsage();
  const start = performance.now();
  await work();
  const ms = performance.now() - start;
  const { user, system } = process.cpuUsage(cpu);
  return { count, ms, cpuMs: (user + system) / 1_000, broker: share?.() };
}

/** From now until it is asked: the share of a core's time in which it was not idle, whoever used it. Undefined where the system does not say. */
function busyShare(core: number): () => number | undefined {
  const read = (): { readonly idle: number; readonly all: number } => {
    const times = cpus()[core]?.times ?? { idle: 0 };
    return { idle: times.idle, all: Object.values(times).reduce((sum, ms) => sum + ms, 0) };
  };
  const before = read();
  return () => {
    const after = read();
    const all = after.all - before.all;
    return all > 0 ? 1 - (after.idle - before.idle) / all : undefined;
  };
}
