import { decompress } from "./compression.ts";
import { EntryError, WireError } from "./errors.ts";
import { decodeKey } from "./key.ts";
import { type Property, readProperty } from "./properties.ts";
import { Reader } from "./reader.ts";

/** A part of a message that was too large for one entry. */
export interface Chunk {
  /** Common to all parts of a message. */
  readonly uuid: string;
  readonly index: number;
  readonly count: number;
  /** Bytes of all parts. */
  readonly size: number;
}

/** What an entry says of itself. Key to event time are those of its message where it holds one only. */
export interface EntryMetadata {
  readonly producerName: string;
  readonly sequenceId: number;
  /** Epoch ms. */
  readonly publishTime: number;
  /** `undefined`: a message alone, not a batch. */
  readonly numMessages: number | undefined;
  /** The protocol's number. */
  readonly compression: number;
  /** Bytes. */
  readonly uncompressedSize: number;
  readonly encrypted: boolean;
  /** Above 0: written by the broker for itself, not a message. */
  readonly markerType: number;
  readonly chunk: Chunk | undefined;
  readonly key: Buffer | undefined;
  readonly orderingKey: Buffer | undefined;
  readonly properties: readonly Property[];
  /** Epoch ms. */
  readonly eventTime: number | undefined;
  readonly nullValue: boolean;
  readonly schemaVersion: Buffer | undefined;
  /** Epoch ms. */
  readonly deliverAt: number | undefined;
}

/** A message of an entry. Bytes are views of what was read. */
export interface EntryMessage {
  readonly key: Buffer | undefined;
  readonly orderingKey: Buffer | undefined;
  readonly properties: readonly Property[];
  readonly payload: Buffer;
  /** Epoch ms. */
  readonly eventTime: number | undefined;
  /** No body at all: a tombstone for compaction. */
  readonly nullValue: boolean;
  /** Compaction has taken it away; the place in the batch stays. */
  readonly compactedOut: boolean;
  readonly sequenceId: number;
}

/** Where the checksum is right, wrong bytes are the producer's: the entry is at fault, not the connection. */
function corrupt(error: unknown): unknown {
  return error instanceof WireError ? new EntryError("CORRUPT", "An entry can't be decoded.", { cause: error }) : error;
}

/** Throws `EntryError` `CORRUPT`. */
export function decodeMetadata(bytes: Buffer): EntryMetadata {
  try {
    return readMetadata(new Reader(bytes));
  } catch (error) {
    throw corrupt(error);
  }
}

function readMetadata(r: Reader): EntryMetadata {
  let producerName = "";
  let uuid = "";
  let sequenceId = 0;
  let publishTime = 0;
  let compression = 0;
  let uncompressedSize = 0;
  let markerType = 0;
  let chunkIndex = 0;
  let chunks = 0;
  let chunkedSize = 0;
  let numMessages: number | undefined;
  let eventTime: number | undefined;
  let deliverAt: number | undefined;
  let key: Buffer | undefined;
  let orderingKey: Buffer | undefined;
  let schemaVersion: Buffer | undefined;
  let encrypted = false;
  let base64 = false;
  let nullValue = false;
  let nullKey = false;
  const properties: Property[] = [];
  while (r.next()) {
    switch (r.field) {
      case 1:
        producerName = r.text();
        break;
      case 2:
        sequenceId = r.rough();
        break;
      case 3:
        publishTime = r.rough();
        break;
      case 4:
        properties.push(readProperty(r));
        break;
      case 6:
        key = r.view();
        break;
      case 8:
        compression = r.value();
        break;
      case 9:
        uncompressedSize = r.value();
        break;
      case 11:
        numMessages = r.value();
        break;
      case 12:
        eventTime = r.rough();
        break;
      case 13:
        encrypted = true;
        r.skip();
        break;
      case 16:
        schemaVersion = r.view();
        break;
      case 17:
        base64 = r.value() !== 0;
        break;
      case 18:
        orderingKey = r.view();
        break;
      case 19:
        deliverAt = r.rough();
        break;
      case 20:
        markerType = r.value();
        break;
      case 25:
        nullValue = r.value() !== 0;
        break;
      case 26:
        uuid = r.text();
        break;
      case 27:
        chunks = r.value();
        break;
      case 28:
        chunkedSize = r.value();
        break;
      case 29:
        chunkIndex = r.value();
        break;
      case 30:
        nullKey = r.value() !== 0;
        break;
      default:
        r.skip();
    }
  }
  return {
    producerName,
    sequenceId,
    publishTime,
    numMessages,
    compression,
    uncompressedSize,
    encrypted,
    markerType,
    chunk: chunks > 1 ? { uuid, index: chunkIndex, count: chunks, size: chunkedSize } : undefined,
    key: key === undefined || nullKey ? undefined : decodeKey(key, base64),
    orderingKey,
    properties,
    eventTime: eventTime === 0 ? undefined : eventTime,
    nullValue,
    schemaVersion,
    deliverAt,
  };
}

/**
 * The messages of an entry: one, or those of a batch, whose index is their place in the array. The payload of a message in parts is all of
 * them, joined. `maxSize`: bytes that it may have unpacked. Throws `EntryError`.
 */
export function decodeMessages(metadata: EntryMetadata, payload: Buffer, maxSize: number): EntryMessage[] {
  if (metadata.encrypted) throw new EntryError("ENCRYPTED", "An entry is encrypted by its producer, which is not supported.");
  const plain = decompress(metadata.compression, payload, metadata.uncompressedSize, maxSize);
  const { numMessages, key, orderingKey, properties, eventTime, nullValue, sequenceId } = metadata;
  if (numMessages === undefined) {
    return [{ key, orderingKey, properties, payload: plain, eventTime, nullValue, compactedOut: false, sequenceId }];
  }
  try {
    const reader = new Reader(plain);
    const messages: EntryMessage[] = [];
    for (let n = 0; n < numMessages; n++) messages.push(readSingle(reader, sequenceId + n));
    return messages;
  } catch (error) {
    throw corrupt(error);
  }
}

/** `[size][SingleMessageMetadata][payload]`. `sequenceId`: where it says none. */
function readSingle(r: Reader, place: number): EntryMessage {
  const { bytes, end } = r;
  const start = r.at + 4;
  if (start > end) throw new WireError("A batch is shorter than it says.");
  const payloadAt = start + bytes.readUInt32BE(r.at);
  if (payloadAt > end) throw new WireError("A batch is shorter than it says.");
  r.at = start;
  r.end = payloadAt;
  let key: Buffer | undefined;
  let orderingKey: Buffer | undefined;
  let size = 0;
  let sequenceId = place;
  let eventTime = 0;
  let base64 = false;
  let nullValue = false;
  let nullKey = false;
  let compactedOut = false;
  const properties: Property[] = [];
  while (r.next()) {
    switch (r.field) {
      case 1:
        properties.push(readProperty(r));
        break;
      case 2:
        key = r.view();
        break;
      case 3:
        size = r.value();
        break;
      case 4:
        compactedOut = r.value() !== 0;
        break;
      case 5:
        eventTime = r.rough();
        break;
      case 6:
        base64 = r.value() !== 0;
        break;
      case 7:
        orderingKey = r.view();
        break;
      case 8:
        sequenceId = r.rough();
        break;
      case 9:
        nullValue = r.value() !== 0;
        break;
      case 10:
        nullKey = r.value() !== 0;
        break;
      default:
        r.skip();
    }
  }
  if (size < 0 || size > end - payloadAt) throw new WireError("A message is longer than its batch.");
  r.at = payloadAt + size;
  r.end = end;
  return {
    key: key === undefined || nullKey ? undefined : decodeKey(key, base64),
    orderingKey,
    properties,
    payload: bytes.subarray(payloadAt, r.at),
    eventTime: eventTime === 0 ? undefined : eventTime,
    nullValue,
    compactedOut,
    sequenceId,
  };
}
