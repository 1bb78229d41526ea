const POLYNOMIAL = 0x82f63b78;

/** `TABLES[256 * n + byte]`: what a byte leaves behind n further bytes of 0. */
const TABLES = new Int32Array(256 * 16);
for (let byte = 0; byte < 256; byte++) {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  TABLES[byte] = crc;
}
for (let n = 256; n < TABLES.length; n++) {
  const crc = TABLES[n - 256] as number;
  TABLES[n] = (crc >>> 8) ^ (TABLES[crc & 0xff] as number);
}

/**
 * CRC-32C of `bytes` from `start` to before `end`, unsigned (RFC 3720, appendix B.4). Sixteen bytes a step, each by a table of its own, so
 * that the look-ups do not wait for each other.
 */
export function crc32c(bytes: Uint8Array, start = 0, end: number = bytes.length): number {
  const t = TABLES;
  const view = new DataView(bytes.buffer, bytes.byteOffset, end);
  let crc = -1;
  let n = start;
  for (const last = end - 16; n <= last; n += 16) {
    const a = view.getInt32(n, true) ^ crc;
    const b = view.getInt32(n + 4, true);
    const c = view.getInt32(n + 8, true);
    const d = view.getInt32(n + 12, true);
    crc =
      (t[3840 + (a & 0xff)] as number) ^
      (t[3584 + ((a >>> 8) & 0xff)] as number) ^
      (t[3328 + ((a >>> 16) & 0xff)] as number) ^
      (t[3072 + (a >>> 24)] as number) ^
      (t[2816 + (b & 0xff)] as number) ^
      (t[2560 + ((b >>> 8) & 0xff)] as number) ^
      (t[2304 + ((b >>> 16) & 0xff)] as number) ^
      (t[2048 + (b >>> 24)] as number) ^
      (t[1792 + (c & 0xff)] as number) ^
      (t[1536 + ((c >>> 8) & 0xff)] as number) ^
      (t[1280 + ((c >>> 16) & 0xff)] as number) ^
      (t[1024 + (c >>> 24)] as number) ^
      (t[768 + (d & 0xff)] as number) ^
      (t[512 + ((d >>> 8) & 0xff)] as number) ^
      (t[256 + ((d >>> 16) & 0xff)] as number) ^
      (t[d >>> 24] as number);
  }
  for (; n < end; n++) crc = (crc >>> 8) ^ (t[(crc ^ (bytes[n] as number)) & 0xff] as number);
  return (crc ^ -1) >>> 0;
}
