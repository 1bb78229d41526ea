import type { MessageId } from "../../transport.ts";
import { localError } from "../errors.ts";
import type { Id } from "./module.ts";

/** @throws PulsarError for what is no id of the official client's */
export function idOf(id: Id): MessageId {
  const [, ...numbers] = /^\((-?\d+),(-?\d+),(-?\d+),(-?\d+)\)$/.exec(id.toString()) ?? [];
  const [ledger, entry, partition, batchIndex] = numbers.map(Number);
  if (ledger === undefined || entry === undefined || partition === undefined || batchIndex === undefined)
    throw localError("ProtocolError", "The official client has named a message in another way than by ledger, entry, partition and index.");
  return { ledger, entry, partition: Math.max(0, partition), batchIndex };
}
