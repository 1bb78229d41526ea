import type { StartPoint } from "../transport.ts";
import { lastOf } from "./inbox.ts";
import { EARLIEST, LATEST, toMessageIdData } from "./wire/ids.ts";

/**
 * What SEEK says. The broker sends the entry named there, so "after" names the next one; in the middle of a batch it names the batch, of which
 * a broker without acknowledgement by batch index sends everything again.
 */
export function seekTarget(
  to: StartPoint,
  partition: number,
): { messageId: ReturnType<typeof toMessageIdData> } | { messagePublishTime: bigint } {
  if (to.kind === "earliest") return { messageId: EARLIEST };
  if (to.kind === "latest") return { messageId: LATEST };
  if (to.kind === "time") return { messagePublishTime: BigInt(Math.max(0, Math.floor(to.ms))) };
  const after = lastOf(to.ids, partition);
  if (after === undefined) return { messageId: EARLIEST };
  const { ledger, entry, batchIndex } = after;
  return { messageId: toMessageIdData(batchIndex < 0 ? { ledger, entry: entry + 1 } : { ledger, entry }) };
}
