import type { MessageId, StartPoint } from "../transport.ts";
import { localError } from "./errors.ts";
import { lastOf } from "./inbox.ts";
import { toMessageIdData } from "./wire/ids.ts";
import { CommandSubscribe_InitialPosition } from "./wire/pulsar.generated.ts";

const { Earliest, Latest } = CommandSubscribe_InitialPosition;
/** The broker goes back in seconds of its own clock, which may differ from ours: what it sends too early is dropped here. */
const MARGIN_MS = 60_000;

/** How one partition begins: what SUBSCRIBE says, and what is dropped of what the broker then sends. */
export interface Start {
  readonly fields: {
    readonly initialPosition: CommandSubscribe_InitialPosition;
    readonly startMessageId?: ReturnType<typeof toMessageIdData>;
    readonly startMessageRollbackDurationSec?: bigint;
  };
  /** `undefined`: everything is wanted. */
  readonly wants?: (ledger: number, entry: number, batchIndex: number, publishTime: number) => boolean;
}

/** Throws `Unsupported` for a durable subscription that is to start in the middle: the protocol can't say it. */
export function startOf(from: StartPoint, durable: boolean, partition: number, now: number): Start {
  if (from.kind === "earliest") return { fields: { initialPosition: Earliest } };
  if (from.kind === "latest") return { fields: { initialPosition: Latest } };
  if (durable)
    throw localError(
      "Unsupported",
      "A new durable subscription starts at the earliest or the latest message: create it at its place first.",
    );
  if (from.kind === "time") {
    const { ms } = from;
    const seconds = Math.ceil((now - ms + MARGIN_MS) / 1_000);
    const wants = (_ledger: number, _entry: number, _index: number, publishTime: number): boolean => publishTime >= ms;
    if (seconds <= 0) return { fields: { initialPosition: Latest }, wants };
    return { fields: { initialPosition: Earliest, startMessageRollbackDurationSec: BigInt(seconds) }, wants };
  }
  const after = lastOf(from.ids, partition);
  if (after === undefined) return { fields: { initialPosition: Earliest } };
  return {
    // The broker steps back by an entry, so that it sends the one named here.
    fields: {
      initialPosition: Latest,
      startMessageId: toMessageIdData({ ledger: after.ledger, entry: after.entry, batchIndex: after.batchIndex }),
    },
    wants: (ledger, entry, batchIndex) => isBehind(after, ledger, entry, batchIndex),
  };
}

function isBehind(after: MessageId, ledger: number, entry: number, batchIndex: number): boolean {
  if (ledger !== after.ledger) return ledger > after.ledger;
  if (entry !== after.entry) return entry > after.entry;
  // -1: the whole entry was meant.
  return after.batchIndex >= 0 && batchIndex > after.batchIndex;
}
