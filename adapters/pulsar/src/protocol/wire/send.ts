import type { OutgoingMessage } from "../../transport.ts";
import { compress } from "./compression.ts";
import { crc32c } from "./crc32c.ts";
import { EntryError } from "./errors.ts";
import { MAGIC_CRC32C } from "./magic.ts";
import { type EntryOptions, metadataRoom, putMetadata } from "./metadata.ts";
import { messageSize, putSingle } from "./single.ts";
import { LENGTH, MAX_VARINT, putNumber, putVarint } from "./writer.ts";

export type { EntryOptions } from "./metadata.ts";
export { messageSize } from "./single.ts";

const SEND = 6;
/** Sizes, command and checksum, at the most. */
const HEAD_ROOM = 8 + 6 * (1 + MAX_VARINT) + 10;

/** The messages' part of an entry, behind `room` bytes that are left free. */
function putPayload(messages: readonly OutgoingMessage[], { sequenceId, compression = "none" }: EntryOptions, room: number) {
  let size = 0;
  const alone = messages.length === 1 ? messages[0] : undefined;
  if (alone !== undefined) size = alone.payload.length;
  else for (let n = 0; n < messages.length; n++) size += messageSize(messages[n] as OutgoingMessage);
  let buffer: Buffer = Buffer.allocUnsafe(room + size);
  let end = room;
  if (alone !== undefined) {
    buffer.set(alone.payload, room);
    end += size;
  } else for (let n = 0; n < messages.length; n++) end = putSingle(buffer, end, messages[n] as OutgoingMessage, sequenceId + n);
  const plainSize = end - room;
  if (compression !== "none") {
    const packed = compress(compression, buffer.subarray(room, end));
    buffer = Buffer.allocUnsafe(room + packed.length);
    buffer.set(packed, room);
    end = buffer.length;
  }
  return { buffer, end, plainSize };
}

/** CommandSend as a BaseCommand. Its length is one byte: five numbers. */
function putCommand(to: Buffer, at: number, count: number, { producerId, sequenceId }: EntryOptions): number {
  const start = putVarint(to, putNumber(to, at, 1, SEND), (SEND << 3) | LENGTH);
  let next = putNumber(to, putNumber(to, start + 1, 1, producerId), 2, sequenceId);
  if (count > 1) next = putNumber(to, putNumber(to, next, 3, count), 6, sequenceId + count - 1);
  to[start] = next - start - 1;
  return next;
}

/**
 * The frame of one entry: a message alone, or several as a batch. `deliverAt` is the first one's.
 * `[total size][command size][command][0x0e01][checksum][metadata size][metadata][payload]`
 * Throws `EntryError`: `OVERSIZE` where all from the magic number on is more than the broker takes, `COMPRESSION`.
 */
export function sendFrame(messages: readonly OutgoingMessage[], options: EntryOptions): Buffer {
  const room = HEAD_ROOM + metadataRoom(messages, options);
  const { buffer, end, plainSize } = putPayload(messages, options, room);
  // Written at the front and then moved up to the payload, since only then its size is known.
  const commandEnd = putCommand(buffer, 8, messages.length, options);
  const metadataAt = commandEnd + 10;
  const headEnd = putMetadata(buffer, metadataAt, messages, options, plainSize);
  const start = room - headEnd;
  const size = end - start - 4;
  const entrySize = size - commandEnd + 4;
  if (entrySize > options.maxMessageSize) {
    throw new EntryError("OVERSIZE", `An entry has ${entrySize} bytes, more than the ${options.maxMessageSize} that the broker takes.`);
  }
  buffer.writeUInt32BE(size, 0);
  buffer.writeUInt32BE(commandEnd - 8, 4);
  buffer.writeUInt16BE(MAGIC_CRC32C, commandEnd);
  buffer.writeUInt32BE(headEnd - metadataAt, commandEnd + 6);
  buffer.copyWithin(start, 0, headEnd);
  buffer.writeUInt32BE(crc32c(buffer, start + commandEnd + 6, end), start + commandEnd + 2);
  return buffer.subarray(start, end);
}
