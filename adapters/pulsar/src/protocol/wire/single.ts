import type { OutgoingMessage } from "../../transport.ts";
import { encodeKey, keyRoom } from "./key.ts";
import { propertiesRoom, putProperties } from "./properties.ts";
import { putBytes, putNumber } from "./writer.ts";

/** Size before it, and its fields of fixed size, at the most. */
const SINGLE_ROOM = 48;

/** The most that a message takes inside a batch, bytes. */
export function messageSize({ key, properties, payload }: OutgoingMessage): number {
  return SINGLE_ROOM + (key === undefined ? 0 : keyRoom(key)) + propertiesRoom(properties) + payload.length;
}

/** `[size][SingleMessageMetadata][payload]`; returns where it ended. */
export function putSingle(to: Buffer, at: number, message: OutgoingMessage, sequenceId: number): number {
  const { key, payload, eventTime } = message;
  const start = at + 4;
  let next = putProperties(to, start, 1, message.properties);
  const wireKey = key === undefined ? undefined : encodeKey(key);
  if (wireKey !== undefined) next = putBytes(to, next, 2, wireKey.bytes);
  next = putNumber(to, next, 3, payload.length);
  if (eventTime !== undefined) next = putNumber(to, next, 5, eventTime);
  if (wireKey?.base64 === true) next = putNumber(to, next, 6, 1);
  next = putNumber(to, next, 8, sequenceId);
  if (message.nullValue === true) next = putNumber(to, next, 9, 1);
  to.writeUInt32BE(next - start, at);
  to.set(payload, next);
  return next + payload.length;
}
