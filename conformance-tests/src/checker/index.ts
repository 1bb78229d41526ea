/** The history checker: writer, reader and judge. */
export { check } from "./check.ts";
export type { Claims, GroupClaims, KeyScope, Promises } from "./claims.ts";
export {
  type Crash,
  type Done,
  HistoryError,
  type HistoryEvent,
  type HistoryRecord,
  type LossReport,
  type PublishEnd,
  type PublishInvoke,
  type Receive,
  type Settle,
  type Stamp,
} from "./event.ts";
export { formatVerdict } from "./format.ts";
export { readHistory } from "./reader.ts";
export type {
  Duplicates,
  Finding,
  Findings,
  GroupVerdict,
  Lost,
  OrderFinding,
  Phantom,
  Published,
  Recovered,
  Stall,
  Verdict,
} from "./verdict.ts";
export { type HistoryWriter, hashOf, historyTime, openHistory } from "./writer.ts";
