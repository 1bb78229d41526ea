import type { OutgoingMessage } from "../../transport.ts";
import { type Compression, compressionType } from "./compression.ts";
import { encodeKey, keyRoom } from "./key.ts";
import { propertiesRoom, putProperties } from "./properties.ts";
import { MAX_VARINT, putBytes, putNumber, putText, textSize } from "./writer.ts";

/** What an entry has beside its messages. */
export interface EntryOptions {
  readonly producerId: number;
  readonly producerName: string;
  /** Of the first message; the others count on. */
  readonly sequenceId: number;
  /** Epoch ms. */
  readonly publishTime: number;
  /** Which consumer of a Key_Shared subscription the entry goes to; where it is left out, the partition key says so. */
  readonly orderingKey?: Uint8Array | undefined;
  /** The entry's own. Left out, a message alone shows its key, and a batch shows none. */
  readonly partitionKey?: Uint8Array | undefined;
  readonly compression?: Compression | undefined;
  readonly schemaVersion?: Uint8Array | undefined;
  /** Of the broker, bytes. */
  readonly maxMessageSize: number;
}

/** All fields of fixed size, and the tags and lengths of the others. */
const FIXED_ROOM = 16 * (2 + MAX_VARINT);

const keyOf = (messages: readonly OutgoingMessage[], { partitionKey }: EntryOptions): Uint8Array | undefined =>
  partitionKey ?? (messages.length === 1 ? messages[0]?.key : undefined);

/** Bytes of an entry's metadata at the most. */
export function metadataRoom(messages: readonly OutgoingMessage[], options: EntryOptions): number {
  const key = keyOf(messages, options);
  return (
    FIXED_ROOM +
    3 * options.producerName.length +
    (key === undefined ? 0 : keyRoom(key)) +
    (options.orderingKey?.length ?? 0) +
    (options.schemaVersion?.length ?? 0) +
    (messages.length === 1 ? propertiesRoom((messages[0] as OutgoingMessage).properties) : 0)
  );
}

/** MessageMetadata. `size`: bytes of the payload before it was compressed. Returns where it ended. */
export function putMetadata(to: Buffer, at: number, messages: readonly OutgoingMessage[], options: EntryOptions, size: number): number {
  const { producerName, sequenceId, compression = "none", schemaVersion, orderingKey } = options;
  const first = messages[0] as OutgoingMessage;
  const alone = messages.length === 1;
  const key = keyOf(messages, options);
  const wireKey = key === undefined ? undefined : encodeKey(key);
  let next = putText(to, at, 1, producerName, textSize(producerName));
  next = putNumber(to, putNumber(to, next, 2, sequenceId), 3, options.publishTime);
  if (alone) next = putProperties(to, next, 4, first.properties);
  if (wireKey !== undefined) next = putBytes(to, next, 6, wireKey.bytes);
  if (compression !== "none") next = putNumber(to, next, 8, compressionType(compression));
  next = putNumber(to, next, 9, size);
  if (!alone) next = putNumber(to, next, 11, messages.length);
  if (alone && first.eventTime !== undefined) next = putNumber(to, next, 12, first.eventTime);
  if (schemaVersion !== undefined) next = putBytes(to, next, 16, schemaVersion);
  if (wireKey?.base64 === true) next = putNumber(to, next, 17, 1);
  if (orderingKey !== undefined) next = putBytes(to, next, 18, orderingKey);
  if (first.deliverAt !== undefined) next = putNumber(to, next, 19, first.deliverAt);
  if (!alone) next = putNumber(to, next, 24, sequenceId + messages.length - 1);
  if (alone && first.nullValue === true) next = putNumber(to, next, 25, 1);
  return next;
}
