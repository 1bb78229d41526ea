import { commandFrame } from "../../../src/protocol/wire/command.ts";
import { crc32c } from "../../../src/protocol/wire/crc32c.ts";
import type { EntryOptions } from "../../../src/protocol/wire/send.ts";
import type { OutgoingMessage } from "../../../src/transport.ts";
import type { Random } from "./random.ts";

export const OPTIONS: EntryOptions = {
  producerId: 3,
  producerName: "standalone-1-7",
  sequenceId: 41,
  publishTime: 1_790_000_000_000,
  maxMessageSize: 5_242_880,
};

export function randomMessage(random: Random): OutgoingMessage {
  const nullValue = random.chance(8);
  return {
    payload: nullValue ? Buffer.alloc(0) : random.bytes(300),
    ...(nullValue && { nullValue }),
    ...(random.chance(3) ? {} : { key: random.chance(2) ? random.bytes(70) : Buffer.from(random.text(40)) }),
    properties: Array.from({ length: random.below(4) }, () => [random.text(60), random.text(200)] as const),
    ...(random.chance(3) ? {} : { eventTime: 1 + random.number() / 2 }),
  };
}

export function randomMessages(random: Random): OutgoingMessage[] {
  return Array.from({ length: random.chance(3) ? 1 : 1 + random.below(12) }, () => randomMessage(random)).map(whole);
}

function whole(message: OutgoingMessage): OutgoingMessage {
  return message.eventTime === undefined ? message : { ...message, eventTime: Math.floor(message.eventTime) };
}

/** `[total size][command size][command][entry]` */
export function withEntry(command: Buffer, entry: Buffer): Buffer {
  const frame = Buffer.concat([command, entry]);
  frame.writeUInt32BE(frame.length - 4, 0);
  return frame;
}

/** The part of a SEND frame behind its command, which a broker hands on as it is. */
export function entryOf(sent: Buffer): Buffer {
  return sent.subarray(8 + sent.readUInt32BE(4));
}

/** `[0x0e01][checksum][size][metadata][payload]` */
export function checkedEntry(metadata: Uint8Array, payload: Uint8Array): Buffer {
  const entry = Buffer.concat([Buffer.alloc(10), metadata, payload]);
  entry.writeUInt16BE(0x0e01, 0);
  entry.writeUInt32BE(metadata.length, 6);
  entry.writeUInt32BE(crc32c(entry, 6), 2);
  return entry;
}

/** A frame as a broker delivers an entry. */
export function delivered(entry: Buffer): Buffer {
  const value = { consumerId: 5, messageId: { ledgerId: 9_000_000_000n, entryId: 77n, partition: 2 }, redeliveryCount: 1 };
  return withEntry(commandFrame({ case: "message", value }), entry);
}
