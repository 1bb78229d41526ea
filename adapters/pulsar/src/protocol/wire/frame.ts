import { type Command, decodeCommand } from "./command.ts";
import { crc32c } from "./crc32c.ts";
import { decodeMessage, type MessageHead } from "./delivery.ts";
import { ChecksumError, WireError } from "./errors.ts";
import { MAGIC_BROKER_ENTRY, MAGIC_CRC32C } from "./magic.ts";
import { Reader } from "./reader.ts";
import { decodeReceipt, type SendReceipt } from "./receipt.ts";

export type { SendReceipt } from "./receipt.ts";

/** One entry on its way to a consumer. Both parts are views of what was read; the payload is as its producer packed it. */
export interface MessageFrame extends MessageHead {
  readonly metadata: Buffer;
  readonly payload: Buffer;
}

export interface FrameEvents {
  /** Every command but receipts and messages. One that is not known is passed over. */
  command(command: Command): void;
  receipt(receipt: SendReceipt): void;
  /** Its checksum was right. */
  message(message: MessageFrame): void;
}

/** What a broker allows where it does not say otherwise, bytes. */
export const DEFAULT_MAX_MESSAGE_SIZE = 5_242_880;
/** What a frame may have beyond a message of the largest size, bytes. */
export const FRAME_PADDING = 10_240;
const [SEND_RECEIPT, MESSAGE] = [7, 9];

/** The type of an encoded command. */
function typeOf(command: Reader): number {
  const start = command.at;
  while (command.next()) {
    if (command.field === 1) {
      const type = command.value();
      command.at = start;
      return type;
    }
    command.skip();
  }
  throw new WireError("The server sent a command without a type.");
}

/**
 * Cuts a byte stream into frames: https://pulsar.apache.org/docs/4.0.x/developing-binary-protocol/#framing
 * A frame that comes in pieces is gathered in a buffer of its size; nothing is gathered whose size is not allowed.
 */
export class FrameParser {
  readonly #events: FrameEvents;
  /** The broker's limit, bytes. */
  maxMessageSize: number = DEFAULT_MAX_MESSAGE_SIZE;
  /** A frame without its size, as far as it is there. */
  #frame: Buffer | undefined;
  #have = 0;
  /** The first bytes of a size that came in pieces. */
  #sizeBytes = 0;
  #size = 0;
  #stopped = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** Nothing that comes is looked at any more. */
  stop(): void {
    this.#stopped = true;
    this.#frame = undefined;
  }

  /** Throws what is wrong with the bytes (`WireError`); then nothing is looked at any more. */
  push(chunk: Buffer): void {
    try {
      for (let at = 0; at < chunk.length && !this.#stopped; )
        at = this.#frame === undefined ? this.#start(chunk, at) : this.#fill(chunk, at);
    } catch (error) {
      this.stop();
      throw error;
    }
  }

  /** A new frame begins at `at`; returns where the next one does, or the chunk's end. */
  #start(chunk: Buffer, at: number): number {
    if (this.#sizeBytes > 0 || chunk.length - at < 4) {
      this.#size = (this.#size << 8) | (chunk[at] as number);
      if (++this.#sizeBytes < 4) return at + 1;
      const size = this.#size >>> 0;
      this.#sizeBytes = this.#size = 0;
      this.#gather(size);
      return at + 1;
    }
    const size = chunk.readUInt32BE(at);
    const end = at + 4 + size;
    if (end > chunk.length) {
      this.#gather(size);
      return at + 4;
    }
    this.#check(size);
    this.#read(chunk, at + 4, end);
    return end;
  }

  #check(size: number): void {
    if (size < 6 || size > this.maxMessageSize + FRAME_PADDING) throw new WireError(`The server sent a frame of ${size} bytes.`);
  }

  #gather(size: number): void {
    this.#check(size);
    this.#frame = Buffer.allocUnsafeSlow(size);
    this.#have = 0;
  }

  #fill(chunk: Buffer, at: number): number {
    const frame = this.#frame as Buffer;
    const count = chunk.copy(frame, this.#have, at);
    this.#have += count;
    if (this.#have === frame.length) {
      this.#frame = undefined;
      this.#read(frame, 0, frame.length);
    }
    return at + count;
  }

  #read(bytes: Buffer, start: number, end: number): void {
    const size = bytes.readUInt32BE(start);
    const from = start + 4;
    const payloadAt = from + size;
    if (payloadAt > end) throw new WireError("The server sent a command that is longer than its frame.");
    const command = new Reader(bytes, from, payloadAt);
    const type = typeOf(command);
    if (type === MESSAGE) {
      this.#events.message(readMessage(decodeMessage(command), bytes, payloadAt, end));
      return;
    }
    if (payloadAt !== end) throw new WireError("The server sent a frame that is longer than its command.");
    if (type === SEND_RECEIPT) {
      this.#events.receipt(decodeReceipt(command));
      return;
    }
    const decoded = decodeCommand(bytes.subarray(from, payloadAt));
    if (decoded !== undefined) this.#events.command(decoded);
  }
}

/** `[0x0e02][size][broker's metadata]`? `[0x0e01][checksum]`? `[size][metadata][payload]` */
function readMessage(head: MessageHead, bytes: Buffer, start: number, end: number): MessageFrame {
  let at = start;
  if (end - at >= 6 && bytes.readUInt16BE(at) === MAGIC_BROKER_ENTRY) at += 6 + bytes.readUInt32BE(at + 2);
  if (end - at >= 6 && bytes.readUInt16BE(at) === MAGIC_CRC32C) {
    const wanted = bytes.readUInt32BE(at + 2);
    at += 6;
    if (crc32c(bytes, at, end) !== wanted) throw new ChecksumError("An entry's checksum is wrong: it arrived other than it was sent.");
  }
  if (end - at < 4) throw new WireError("The server sent an entry that is cut off.");
  const payloadAt = at + 4 + bytes.readUInt32BE(at);
  if (payloadAt > end) throw new WireError("The server sent an entry whose metadata is longer than itself.");
  return { ...head, metadata: bytes.subarray(at + 4, payloadAt), payload: bytes.subarray(payloadAt, end) };
}
