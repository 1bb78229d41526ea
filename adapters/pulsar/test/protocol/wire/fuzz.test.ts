import { expect, it } from "vitest";
import { commandFrame, PING } from "../../../src/protocol/wire/command.ts";
import { decodeMessages, decodeMetadata } from "../../../src/protocol/wire/entry.ts";
import { EntryError, WireError } from "../../../src/protocol/wire/errors.ts";
import { FrameParser } from "../../../src/protocol/wire/frame.ts";
import { sendFrame } from "../../../src/protocol/wire/send.ts";
import { checkedEntry, delivered, entryOf, OPTIONS, randomMessages } from "./messages.ts";
import { Random } from "./random.ts";

const ROUNDS = 20_000;
const MAX = 100_000;

/** What a server may send, and is then spoilt. */
function samples(): Buffer[] {
  const random = new Random(7);
  const entries = Array.from({ length: 40 }, (_, n) =>
    entryOf(sendFrame(randomMessages(random).slice(0, 3), { ...OPTIONS, compression: n % 4 === 0 ? "zlib" : "none" })),
  );
  return [
    PING,
    commandFrame({ case: "connected", value: { serverVersion: "x", maxMessageSize: 5 } }),
    commandFrame({ case: "lookupTopicResponse", value: { requestId: 1, brokerServiceUrl: "pulsar://x", message: "ü" } }),
    commandFrame({ case: "sendReceipt", value: { producerId: 1, sequenceId: 5n, messageId: { ledgerId: 7n, entryId: 8n } } }),
    commandFrame({ case: "getTopicsOfNamespaceResponse", value: { requestId: 1, topics: ["a", "b", "c"] } }),
    ...entries.map(delivered),
  ];
}

/** Bytes changed, put in, taken out or repeated, at random places. */
function spoilt(bytes: Buffer, random: Random): Buffer {
  const wrong = Buffer.from(bytes);
  const at = random.below(wrong.length);
  switch (random.below(6)) {
    case 0:
      return Buffer.concat([wrong.subarray(0, at), random.bytes(20), wrong.subarray(at)]);
    case 1:
      return Buffer.concat([wrong.subarray(0, at), wrong.subarray(at + random.below(20))]);
    case 2:
      return random.bytes(200);
    case 3:
      return wrong;
    default:
      for (let n = 1 + random.below(4); n > 0; n--)
        wrong[random.below(wrong.length)] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
      return wrong;
  }
}

/** Metadata or payload spoilt before the checksum is made, so that it passes. */
function spoiltInside(frame: Buffer, random: Random): Buffer {
  const entry = frame.subarray(8 + frame.readUInt32BE(4));
  if (entry.length < 10) return spoilt(frame, random);
  const payloadAt = 10 + entry.readUInt32BE(6);
  const [metadata, payload] = [entry.subarray(10, payloadAt), entry.subarray(payloadAt)];
  return delivered(
    random.chance(2)
      ? checkedEntry(spoilt(metadata, random), payload)
      : checkedEntry(metadata, payload.length === 0 ? payload : spoilt(payload, random)),
  );
}

it(`${ROUNDS} spoilt streams, cut anywhere: frames or a typed error, and memory stays bounded`, () => {
  const frames = samples();
  const counts = { frames: 0, wire: 0, entry: 0 };
  const before = process.memoryUsage().rss;
  for (let seed = 1; seed <= ROUNDS; seed++) {
    const random = new Random(seed);
    const frame = random.pick(frames);
    const stream = Buffer.concat([
      random.chance(2) ? PING : Buffer.alloc(0),
      random.chance(3) ? spoiltInside(frame, random) : spoilt(frame, random),
      random.pick(frames),
    ]);
    let bytes = 0;
    const parser = new FrameParser({
      command: () => void counts.frames++,
      receipt: () => void counts.frames++,
      message: ({ metadata, payload }) => {
        counts.frames++;
        try {
          for (const message of decodeMessages(decodeMetadata(metadata), payload, MAX)) bytes += message.payload.length;
        } catch (error) {
          if (!(error instanceof EntryError)) throw error;
          counts.entry++;
        }
      },
    });
    try {
      const step = random.chance(20) ? 1 : 1 + random.below(2_000);
      for (let at = 0; at < stream.length; ) {
        const end = at + 1 + random.below(step);
        parser.push(stream.subarray(at, end));
        at = end;
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw new Error(`seed ${seed}`, { cause: error });
      counts.wire++;
    }
    if (bytes > 3 * MAX) throw new Error(`seed ${seed}: ${bytes} bytes came out of ${stream.length}`);
  }
  // Each of the three outcomes is common, or the streams would not be worth their name.
  for (const count of Object.values(counts)) expect(count).toBeGreaterThan(ROUNDS / 50);
  expect(process.memoryUsage().rss - before).toBeLessThan(300_000_000);
}, 120_000);
