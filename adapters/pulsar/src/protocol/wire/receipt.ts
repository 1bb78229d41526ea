import type { Reader } from "./reader.ts";

/** The broker stored an entry. Ledger and entry are -1 where it had it already (deduplication). */
export interface SendReceipt {
  readonly producerId: number;
  /** Of the entry's first message, as sent. */
  readonly sequenceId: number;
  /** Of its last one; 0 where it was not sent. */
  readonly highestSequenceId: number;
  readonly ledger: number;
  readonly entry: number;
}

type Draft = { -readonly [K in keyof SendReceipt]: SendReceipt[K] };

/** A BaseCommand with a CommandSendReceipt. Throws `WireError`. */
export function decodeReceipt(r: Reader): SendReceipt {
  const receipt: Draft = { producerId: -1, sequenceId: -1, highestSequenceId: 0, ledger: -1, entry: -1 };
  while (r.next()) {
    if (r.field === 7) readReceipt(r, receipt);
    else r.skip();
  }
  return receipt;
}

function readReceipt(r: Reader, receipt: Draft): void {
  const outer = r.enter();
  while (r.next()) {
    if (r.field === 1) receipt.producerId = r.value();
    else if (r.field === 2) receipt.sequenceId = r.value();
    else if (r.field === 3) readId(r, receipt);
    else if (r.field === 4) receipt.highestSequenceId = r.value();
    else r.skip();
  }
  r.leave(outer);
}

function readId(r: Reader, receipt: Draft): void {
  const outer = r.enter();
  while (r.next()) {
    if (r.field === 1) receipt.ledger = r.value();
    else if (r.field === 2) receipt.entry = r.value();
    else r.skip();
  }
  r.leave(outer);
}
