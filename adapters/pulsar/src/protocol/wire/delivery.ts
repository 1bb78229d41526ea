import { WireError } from "./errors.ts";
import type { Reader } from "./reader.ts";

/** What a CommandMessage says of the entry that comes with it. */
export interface MessageHead {
  readonly consumerId: number;
  readonly ledger: number;
  readonly entry: number;
  /** -1: not of a partitioned topic. */
  readonly partition: number;
  readonly batchIndex: number;
  /** Earlier deliveries that the broker counted. */
  readonly redeliveries: number;
  /** Bit n: message n of the batch is not acknowledged. `undefined`: none of it is. */
  readonly ackSet: Uint32Array | undefined;
}

type Draft = { -readonly [K in keyof MessageHead]: MessageHead[K] };

/** A BaseCommand with a CommandMessage. Throws `WireError`. */
export function decodeMessage(r: Reader): MessageHead {
  const head: Draft = { consumerId: -1, ledger: -1, entry: -1, partition: -1, batchIndex: -1, redeliveries: 0, ackSet: undefined };
  while (r.next()) {
    if (r.field === 9) readHead(r, head);
    else r.skip();
  }
  if (head.ledger < 0 || head.entry < 0) throw new WireError("The server sent a message without its place.");
  return head;
}

function readHead(r: Reader, head: Draft): void {
  const words: number[] = [];
  const outer = r.enter();
  while (r.next()) {
    if (r.field === 1) head.consumerId = r.value();
    else if (r.field === 2) readId(r, head);
    else if (r.field === 3) head.redeliveries = r.value();
    else if (r.field === 4) readWords(r, words);
    else r.skip();
  }
  r.leave(outer);
  if (words.length > 0) head.ackSet = Uint32Array.from(words);
}

function readId(r: Reader, head: Draft): void {
  const outer = r.enter();
  while (r.next()) {
    if (r.field === 1) head.ledger = r.value();
    else if (r.field === 2) head.entry = r.value();
    else if (r.field === 3) head.partition = r.value() | 0;
    else if (r.field === 4) head.batchIndex = r.value() | 0;
    else r.skip();
  }
  r.leave(outer);
}

/** Words of 64 bits, one at a time or packed: both are protobuf. */
function readWords(r: Reader, words: number[]): void {
  if (r.wire === 0) {
    r.pair();
    words.push(r.low, r.high);
    return;
  }
  const outer = r.enter();
  while (r.at < r.end) {
    r.pair();
    words.push(r.low, r.high);
  }
  r.leave(outer);
}
