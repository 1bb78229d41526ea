import type { WireRecord } from "brokerkit/driver";
import { type Encoded, encode } from "./message.ts";
import { deduplicationId, messageGroup } from "./names.ts";

/** A request has at most so many entries. */
const ENTRIES = 10;
/** What all messages of a request, or one alone, may have in all. */
export const REQUEST_BYTES = { topic: 262_144, queue: 1_048_576 } as const;
/** What a queue waits by itself; what is to wait longer its readers put back until it is due. */
const LONGEST_DELAY_S = 900;

/** One request's records: their places in the batch, and what they are on the wire. */
export interface Request {
  readonly indexes: number[];
  readonly encoded: Encoded[];
  bytes: number;
}

/** Fills requests up to their limits. What fits into none is handed to `tooLarge`. */
export function requests(
  batch: readonly WireRecord[],
  indexes: readonly number[],
  kind: "topic" | "queue",
  now: number,
  tooLarge: (index: number, bytes: number) => void,
): Request[] {
  const most = REQUEST_BYTES[kind];
  const found: Request[] = [];
  let last: Request | undefined;
  for (const index of indexes) {
    const record = batch[index] as WireRecord;
    const { delayMs = 0 } = record;
    // Topics and FIFO queues know no delay, others whole seconds and few of them: the message says when it is due, and its readers wait.
    // The clock shows whole milliseconds: the one that has begun does not count.
    const encoded = encode(record, delayMs > 0 ? now + 1 + delayMs : undefined);
    if (encoded.bytes > most) {
      tooLarge(index, encoded.bytes);
      continue;
    }
    if (last === undefined || last.indexes.length === ENTRIES || last.bytes + encoded.bytes > most) {
      last = { indexes: [], encoded: [], bytes: 0 };
      found.push(last);
    }
    last.indexes.push(index);
    last.encoded.push(encoded);
    last.bytes += encoded.bytes;
  }
  return found;
}

interface Entry {
  readonly Id: string;
  readonly MessageAttributes: Encoded["attributes"];
}

/** Entries for `SendMessageBatch` or `PublishBatch`; an entry's `Id` is its place in the request. */
export function entriesFor(
  kind: "queue",
  batch: readonly WireRecord[],
  request: Request,
  fifo: boolean,
): (Entry & { MessageBody: string })[];
export function entriesFor(kind: "topic", batch: readonly WireRecord[], request: Request, fifo: boolean): (Entry & { Message: string })[];
export function entriesFor(kind: "topic" | "queue", batch: readonly WireRecord[], { indexes, encoded }: Request, fifo: boolean): Entry[] {
  return indexes.map((index, n) => {
    const { text, attributes } = encoded[n] as Encoded;
    const record = batch[index] as WireRecord;
    const ids = fifo ? { MessageGroupId: messageGroup(record), MessageDeduplicationId: deduplicationId(record) } : {};
    const entry = { Id: String(n), MessageAttributes: attributes, ...ids };
    if (kind === "topic") return { ...entry, Message: text };
    const seconds = fifo ? 0 : Math.min(LONGEST_DELAY_S, Math.floor((record.delayMs ?? 0) / 1_000));
    return { ...entry, MessageBody: text, ...(seconds > 0 ? { DelaySeconds: seconds } : {}) };
  });
}
