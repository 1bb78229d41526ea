import { LENGTH, MAX_VARINT, putNumber, putPair, putVarint } from "./writer.ts";

/** An entry, or the messages of it whose bits are not in `ackSet`: bit n is message n that is not acknowledged yet. */
export interface AckId {
  readonly ledger: number;
  readonly entry: number;
  readonly ackSet?: Uint32Array | undefined;
  /** Messages of the batch. */
  readonly batchSize?: number | undefined;
}

const [ACK, REDELIVER] = [10, 20];
/** Sizes of frame and command, type, and what a command has beside its ids. */
const HEAD_ROOM = 8 + 4 * (1 + MAX_VARINT);
const ID_ROOM = 4 * (2 + MAX_VARINT);

function roomOf(ids: readonly AckId[]): number {
  let room = 0;
  for (const { ackSet } of ids) room += ID_ROOM + (ackSet === undefined ? 0 : (ackSet.length + 1) * (1 + MAX_VARINT));
  return room;
}

/** `MessageIdData` behind its tag and length. */
function putId(to: Buffer, at: number, field: number, { ledger, entry, ackSet, batchSize }: AckId): number {
  const start = putVarint(to, at, (field << 3) | LENGTH);
  let next = putNumber(to, putNumber(to, start + 1, 1, ledger), 2, entry);
  if (ackSet !== undefined) {
    for (let n = 0; n < ackSet.length; n += 2) {
      next = putPair(to, putVarint(to, next, 5 << 3), ackSet[n] as number, ackSet[n + 1] ?? 0);
    }
  }
  if (batchSize !== undefined) next = putNumber(to, next, 6, batchSize);
  const size = next - start - 1;
  if (size > 0x7f) {
    // A batch of very many: the length takes a second byte.
    to.copyWithin(start + 2, start + 1, next);
    putVarint(to, start, size);
    return next + 1;
  }
  to[start] = size;
  return next;
}

/** A frame of one command whose body `put` has written from `HEAD_ROOM` on, up to `end`. The head goes right before it. */
function framed(buffer: Buffer, type: number, end: number): Buffer {
  const head = Buffer.allocUnsafe(HEAD_ROOM);
  let at = putNumber(head, 8, 1, type);
  at = putVarint(head, putVarint(head, at, (type << 3) | LENGTH), end - HEAD_ROOM);
  const size = at - 8 + end - HEAD_ROOM;
  head.writeUInt32BE(4 + size, 0);
  head.writeUInt32BE(size, 4);
  const start = HEAD_ROOM - at;
  head.copy(buffer, start, 0, at);
  return buffer.subarray(start, end);
}

/** Acknowledges entries, or parts of them. With a request id the broker answers. */
export function ackFrame(
  consumerId: number,
  requestId: number | undefined,
  ids: readonly AckId[],
  type: "individual" | "cumulative" = "individual",
): Buffer {
  const buffer = Buffer.allocUnsafe(2 * HEAD_ROOM + roomOf(ids));
  let at = putNumber(buffer, putNumber(buffer, HEAD_ROOM, 1, consumerId), 2, type === "individual" ? 0 : 1);
  for (const id of ids) at = putId(buffer, at, 3, id);
  if (requestId !== undefined) at = putNumber(buffer, at, 8, requestId);
  return framed(buffer, ACK, at);
}

/** Asks for whole entries again. */
export function redeliverFrame(consumerId: number, ids: readonly AckId[]): Buffer {
  const buffer = Buffer.allocUnsafe(2 * HEAD_ROOM + roomOf(ids));
  let at = putNumber(buffer, HEAD_ROOM, 1, consumerId);
  for (const { ledger, entry } of ids) at = putId(buffer, at, 2, { ledger, entry });
  return framed(buffer, REDELIVER, at);
}
