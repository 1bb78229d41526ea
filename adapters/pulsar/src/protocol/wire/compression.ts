import zlib from "node:zlib";
import { EntryError } from "./errors.ts";
import { CompressionType } from "./pulsar.generated.ts";

/** `zstd` takes Node.js 22.15 or newer; `lz4` and `snappy` are not supported. */
export type Compression = "none" | "lz4" | "zlib" | "zstd" | "snappy";

const NAMES: readonly Compression[] = ["none", "lz4", "zlib", "zstd", "snappy"];

interface Codec {
  readonly compress: (bytes: Buffer) => Buffer;
  readonly decompress: (bytes: Buffer, maxOutputLength: number) => Buffer;
}

const CODECS: ReadonlyMap<Compression, Codec> = new Map(
  Object.entries({
    zlib: {
      compress: (bytes) => zlib.deflateSync(bytes),
      // The Java client leaves its streams without an end; that nothing is missing shows in the size.
      decompress: (bytes, maxOutputLength) => zlib.inflateSync(bytes, { maxOutputLength, finishFlush: zlib.constants.Z_SYNC_FLUSH }),
    },
    ...(typeof zlib.zstdCompressSync === "function" && {
      zstd: {
        compress: (bytes: Buffer) => zlib.zstdCompressSync(bytes),
        decompress: (bytes: Buffer, maxOutputLength: number) => zlib.zstdDecompressSync(bytes, { maxOutputLength }),
      },
    }),
  } satisfies Record<string, Codec>) as [Compression, Codec][],
);

/** Whether this client can read and write it on this Node.js. */
export function compressionAvailable(name: Compression): boolean {
  return name === "none" || CODECS.has(name);
}

/** The protocol's number of it. */
export function compressionType(name: Compression): number {
  return NAMES.indexOf(name);
}

function codecOf(name: Compression | undefined, type: number): Codec {
  const codec = name === undefined ? undefined : CODECS.get(name);
  if (codec !== undefined) return codec;
  const why = name === "zstd" ? "needs Node.js 22.15 or newer" : "is not supported; zlib and zstd are";
  throw new EntryError("COMPRESSION", `Compression ${name ?? type} ${why}.`);
}

/** Compresses all of an entry's payload at once, in this turn of the event loop: an entry is some 100 KiB. */
export function compress(name: Compression, bytes: Buffer): Buffer {
  return name === "none" ? bytes : codecOf(name, compressionType(name)).compress(bytes);
}

/**
 * `size`: bytes that its producer says it had. More than `maxSize` is refused before anything is unpacked, and what does not come to
 * exactly `size` is corrupt. Throws `EntryError`.
 */
export function decompress(type: number, bytes: Buffer, size: number, maxSize: number): Buffer {
  if (type === CompressionType.NONE) return bytes;
  const codec = codecOf(NAMES[type], type);
  if (size > maxSize) throw new EntryError("OVERSIZE", `An entry has ${size} bytes unpacked, more than the ${maxSize} that are allowed.`);
  let plain: Buffer;
  try {
    plain = codec.decompress(bytes, Math.max(size, 1));
  } catch (error) {
    throw new EntryError("CORRUPT", `An entry can't be unpacked (${NAMES[type]}).`, { cause: error });
  }
  if (plain.length !== size) throw new EntryError("CORRUPT", `An entry has ${plain.length} bytes unpacked instead of ${size}.`);
  return plain;
}
