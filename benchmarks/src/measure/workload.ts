/** What is published, how, and for how long: one file in workloads/. */
export interface Workload {
  readonly name: string;
  /** Bytes of a body, at least 16. */
  readonly size: number;
  /** Most messages in one measurement; fewer where they would take longer than `roundMs`. */
  readonly count: number;
  /** Different ordering keys; 0 for messages without a key. */
  readonly keys: number;
  /** Publishes under way at once, in messages. */
  readonly inFlight: number;
  /** Messages in one call of a batch API. */
  readonly batch: number;
  /** Handlers at once. */
  readonly concurrency: number;
  /** Messages that lie in the topic before those that are measured; published, not consumed by the measured group. */
  readonly backlog: number;
  /** Topics that messages are spread over, publishing only. */
  readonly topics: number;
  /** How long one measurement aims to take, ms. */
  readonly roundMs: number;
  readonly warmUpMs: number;
  readonly latency: { readonly perSecond: number; readonly ms: number } | null;
}

const MOST = 65_536;
const POOL_BYTES = 64 * 2 ** 20;

/** How many bodies of this size are made before a run; they are used again in turn. A power of two. */
export function poolOf(size: number): number {
  let bodies = MOST;
  while (bodies > 64 && bodies * size > POOL_BYTES) bodies /= 2;
  return bodies;
}

/** The workload with no more under way than its bodies allow. */
export function fitted(workload: Workload): Workload {
  const inFlight = Math.min(workload.inFlight, poolOf(workload.size) / 2);
  return { ...workload, inFlight, batch: Math.min(workload.batch, inFlight) };
}
