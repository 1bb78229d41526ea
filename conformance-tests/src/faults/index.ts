/** The fault kit: processes that are killed and frozen, connections that break, and waiting for what follows. */
export { type Exit, type ProcessOptions, type RunningProcess, startProcess } from "./process.ts";
export { TimeoutError, type UntilOptions, until } from "./until.ts";
