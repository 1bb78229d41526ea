import { describe, expect, it } from "vitest";
import { crc32c } from "../../../src/protocol/wire/crc32c.ts";
import { Random } from "./random.ts";

/** Bit by bit, as the polynomial is defined. */
function slowly(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return (crc ^ 0xffffffff) >>> 0;
}

describe("crc32c", () => {
  // RFC 3720, appendix B.4, and the check value of the catalogue of CRCs.
  it.each([
    ["nine digits", Buffer.from("123456789"), 0xe3069283],
    ["32 zeros", Buffer.alloc(32), 0x8a9136aa],
    ["32 ones", Buffer.alloc(32, 0xff), 0x62a8ab43],
    ["ascending", Buffer.from(Array.from({ length: 32 }, (_, n) => n)), 0x46dd794e],
    ["descending", Buffer.from(Array.from({ length: 32 }, (_, n) => 31 - n)), 0x113fdb5c],
    ["nothing", Buffer.alloc(0), 0],
  ])("%s", (_, bytes, wanted) => {
    expect(crc32c(bytes)).toBe(wanted);
  });

  it("any part of any bytes, whatever they are aligned to", () => {
    const random = new Random(1);
    const all = Buffer.from(Array.from({ length: 400 }, () => random.below(256)));
    for (let n = 0; n < 500; n++) {
      const bytes = all.subarray(random.below(100));
      const start = random.below(100);
      const end = start + random.below(200);
      expect(crc32c(bytes, start, end), `${start} to ${end}`).toBe(slowly(bytes.subarray(start, end)));
    }
  });
});
