import type { IncomingMessage } from "../transport.ts";
import type { Start } from "./start.ts";
import type { EntryMessage, EntryMetadata } from "./wire/entry.ts";
import type { MessageFrame } from "./wire/frame.ts";

/** What an entry brings. */
export interface Incoming {
  /** By their index; missing where the broker or the start says that it is not for this consumer. */
  readonly messages: (IncomingMessage | undefined)[];
  /** How many are there. */
  readonly kept: number;
  /** How many permits the broker takes for it: one for each message that is not acknowledged. */
  readonly charged: number;
}

/** `wants`: what the consumer starts with; without it, everything. */
export function incomingOf(
  { ledger, entry, ackSet, redeliveries }: MessageFrame,
  metadata: EntryMetadata,
  decoded: readonly EntryMessage[],
  partition: number,
  wants: Start["wants"],
): Incoming {
  const { publishTime, producerName, numMessages } = metadata;
  const messages: (IncomingMessage | undefined)[] = new Array(decoded.length);
  let kept = 0;
  let charged = 0;
  for (let index = 0; index < decoded.length; index++) {
    const one = decoded[index] as EntryMessage;
    if (ackSet !== undefined && !has(ackSet, index)) continue;
    charged += 1;
    if (one.compactedOut || wants?.(ledger, entry, index, publishTime) === false) continue;
    kept += 1;
    messages[index] = {
      id: { ledger, entry, partition, batchIndex: numMessages === undefined ? -1 : index },
      payload: one.payload,
      nullValue: one.nullValue,
      key: one.key,
      properties: one.properties,
      publishTime,
      eventTime: one.eventTime,
      redeliveries,
      producerName,
    };
  }
  return { messages, kept, charged };
}

function has(bits: Uint32Array, index: number): boolean {
  return (((bits[index >> 5] ?? 0) >>> (index & 31)) & 1) === 1;
}
