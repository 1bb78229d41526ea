/** The fault kit: connections that break, processes that are killed and frozen, and waiting for what follows. */
export type { CutRule, Direction, DirectionStatistics, ProxyStatistics } from "./conditions.ts";
export { type Exit, type ProcessOptions, type RunningProcess, startProcess } from "./process.ts";
export { type FaultProxy, type ProxyTarget, startProxy } from "./proxy.ts";
export { TimeoutError, type Truthy, type UntilOptions, until } from "./until.ts";
