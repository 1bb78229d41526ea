import { driverError, type Place, type Shard, type WireDelivery, type WireHeader } from "brokerkit/driver";
import { DUE, FAILURES, ID, PUBLISHED } from "./records.ts";
import type { Client } from "./requests.ts";

/** One ownership of a partition. */
export interface LogShard extends Shard {
  readonly inbox: boolean;
}

/** One record as core gets it. Its bytes are a copy, in a small piece of memory: what is held for long keeps no fetched batch there. */
export class RecordDelivery implements WireDelivery {
  readonly shard: LogShard;
  readonly offset: number;
  readonly key: Uint8Array | undefined;
  readonly body: Uint8Array | null;
  readonly headers: readonly WireHeader[];
  readonly id: string | undefined;
  readonly publishedAt: number;
  readonly failures: number;
  /** Not to be given out before this time, epoch ms. */
  readonly due: number;

  constructor(
    shard: LogShard,
    offset: number,
    key: Uint8Array | undefined,
    body: Uint8Array | null,
    { headers, id, publishedAt, failures, due }: Said,
  ) {
    this.shard = shard;
    this.offset = offset;
    this.key = key;
    this.body = body;
    this.headers = headers;
    this.id = id;
    this.publishedAt = publishedAt;
    this.failures = failures;
    this.due = due;
  }

  get place(): Place {
    return `${this.shard.id}:${this.offset}` as Place;
  }

  get inbox(): boolean {
    return this.shard.inbox;
  }

  /** The broker does not count them. */
  get deliveries(): number {
    return 1;
  }

  get leaseUntil(): number {
    return Number.POSITIVE_INFINITY;
  }

  /** What it takes in memory, roughly. */
  get size(): number {
    return (this.body?.length ?? 0) + (this.key?.length ?? 0) + 200;
  }
}

/** What a record's headers say: ours, and the user's. */
interface Said {
  headers: readonly WireHeader[];
  id: string | undefined;
  publishedAt: number;
  failures: number;
  due: number;
}

const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);
const NO_BYTES = Buffer.alloc(0);
/** Our headers by the length of their names, which differ. */
const OURS: ReadonlyMap<number, Buffer> = new Map([ID, FAILURES, DUE, PUBLISHED].map((name) => [name.length, Buffer.from(name)]));

// Where things stand in a record batch: https://kafka.apache.org/documentation/#recordbatch
const LENGTH = 8;
const EPOCH = 12;
const MAGIC = 16;
const CHECKSUM = 17;
const ATTRIBUTES = 21;
const LAST_DELTA = 23;
const FIRST_TIME = 27;
const LAST_TIME = 35;
const PRODUCER = 43;
const COUNT = 57;
const RECORDS = 61;

const COMPRESSION = 0b111;
const APPEND_TIME = 0b1000;
const TRANSACTIONAL = 0b1_0000;
const CONTROL = 0b10_0000;
/** Value of a transaction marker's key, behind its version: https://kafka.apache.org/documentation/#controlbatch */
const ABORT = 0;

/** Offsets and times stay far below 2^53. */
function int64(bytes: Buffer, at: number): number {
  return bytes.readInt32BE(at) * 0x1_0000_0000 + bytes.readUInt32BE(at + 4);
}

/**
 * One record batch of a log, read record by record. The client's own reader makes an object with big integers for each record, checks no
 * sum, and takes three times as long.
 */
export class RecordBatch {
  readonly first: number;
  readonly last: number;
  readonly epoch: number;
  readonly producerId: number;
  readonly bytes: Buffer;
  readonly #attributes: number;
  readonly #time: number;
  /** Decompressed, and how far they have been read. */
  #records: Buffer = NO_BYTES;
  #at = 0;
  #left: number;
  /** A copy of a part of them up to `#to`: where it has what stands at 0. */
  #piece: Buffer = NO_BYTES;
  #shift = 0;
  #to = 0;
  /** Of the record that is read: one object for all of them. */
  readonly #said: Said = { headers: NO_HEADERS, id: undefined, publishedAt: 0, failures: 0, due: 0 };

  constructor(bytes: Buffer) {
    this.bytes = bytes;
    this.first = int64(bytes, 0);
    this.last = this.first + bytes.readInt32BE(LAST_DELTA);
    this.epoch = bytes.readInt32BE(EPOCH);
    this.producerId = int64(bytes, PRODUCER);
    this.#attributes = bytes.readInt16BE(ATTRIBUTES);
    this.#time = int64(bytes, (this.#attributes & APPEND_TIME) === 0 ? FIRST_TIME : LAST_TIME);
    this.#left = bytes.readInt32BE(COUNT);
  }

  /** Takes the batches of a fetched piece of a log apart. What was cut off at its end is fetched again. */
  static split(bytes: Buffer): RecordBatch[] {
    const batches: RecordBatch[] = [];
    for (let at = 0; at + RECORDS <= bytes.length; ) {
      const end = at + EPOCH + bytes.readInt32BE(at + LENGTH);
      if (end > bytes.length) break;
      if (bytes[at + MAGIC] !== 2) {
        const text = `The log has messages of format ${bytes[at + MAGIC]}, from before Kafka 0.11, which this adapter does not read.`;
        throw driverError("UNSUPPORTED", text);
      }
      batches.push(new RecordBatch(bytes.subarray(at, end)));
      at = end;
    }
    return batches;
  }

  get transactional(): boolean {
    return (this.#attributes & TRANSACTIONAL) !== 0;
  }

  /** Markers for readers, no messages. */
  get control(): boolean {
    return (this.#attributes & CONTROL) !== 0;
  }

  /** Call before the records are taken: checks the sum, and decompresses. Throws for what is damaged. */
  open({ crc32c, compressionsAlgorithms }: Client): void {
    const { bytes } = this;
    if (crc32c(bytes.subarray(ATTRIBUTES)) !== bytes.readUInt32BE(CHECKSUM)) throw this.#damaged("its checksum is wrong");
    const packed = bytes.subarray(RECORDS);
    const codec = this.#attributes & COMPRESSION;
    if (codec === 0) {
      this.#records = packed;
      return;
    }
    const algorithm = Object.values(compressionsAlgorithms).find(({ bitmask, available }) => bitmask === codec && available);
    if (algorithm === undefined) throw this.#damaged(`nothing here reads compression ${codec}`);
    this.#records = algorithm.decompressSync(packed) as Buffer;
  }

  #damaged(why: string): Error {
    return driverError("INTERNAL", `The record batch at the offsets ${this.first} to ${this.last} can't be read: ${why}.`);
  }

  /** Of a control batch that is open: it ends a transaction, and voids it. */
  get aborts(): boolean {
    this.#at = 0;
    this.#varint();
    this.#at++;
    this.#varint();
    this.#varint();
    const length = this.#varint();
    return length >= 4 && this.#records.readInt16BE(this.#at + 2) === ABORT;
  }

  /** The next record at or behind the offset `from`; `undefined` once there are no more. */
  next(shard: LogShard, from: number): RecordDelivery | undefined {
    while (this.#left > 0) {
      this.#left--;
      const length = this.#varint();
      const end = this.#at + length;
      if (!(length > 0 && end <= this.#records.length)) throw this.#damaged("its records are cut off");
      const record = this.#record(shard, from, length);
      if (this.#at > end) throw this.#damaged("a record is longer than it says");
      this.#at = end;
      if (record !== undefined) return record;
    }
    return undefined;
  }

  #record(shard: LogShard, from: number, length: number): RecordDelivery | undefined {
    const begin = this.#at++;
    const delta = this.#varint();
    const offset = this.first + this.#varint();
    if (offset < from) return undefined;
    if (begin + length > this.#to) this.#copy(begin, length);
    const key = this.#bytes();
    const body = this.#bytes() ?? null;
    this.#said.publishedAt = (this.#attributes & APPEND_TIME) === 0 ? this.#time + delta : this.#time;
    this.#headers();
    return new RecordDelivery(shard, offset, key, body, this.#said);
  }

  /** Copies a record, and of those that follow it as much as there is room for in the same piece of memory. */
  #copy(begin: number, length: number): void {
    const at = room(length);
    const size = Math.min(piece.length - at, this.#records.length - begin);
    this.#records.copy(piece, at, begin, begin + size);
    used = at + size;
    this.#piece = piece;
    this.#shift = at - begin;
    this.#to = begin + size;
  }

  #headers(): void {
    const said = this.#said;
    said.headers = NO_HEADERS;
    said.id = undefined;
    said.failures = 0;
    said.due = 0;
    let others: WireHeader[] | undefined;
    for (let left = this.#varint(); left > 0; left--) {
      const length = this.#varint();
      const at = this.#at;
      if (length < 0 || at + length > this.#records.length) throw this.#damaged("a header is cut off");
      this.#at += length;
      if (!this.#isOurs(at, length)) {
        others ??= [];
        others.push([this.#records.toString("utf8", at, at + length), this.#bytes() ?? NO_BYTES]);
      } else if (length === ID.length) said.id = this.#text();
      else if (length === FAILURES.length) said.failures = numeric(this.#text()) ?? 0;
      else if (length === DUE.length) said.due = numeric(this.#text()) ?? 0;
      else said.publishedAt = numeric(this.#text()) ?? said.publishedAt;
    }
    if (others !== undefined) said.headers = others;
  }

  /** Whether a header's name is one of ours. Names are compared where they are: making a string of each costs more than all the rest. */
  #isOurs(at: number, length: number): boolean {
    const name = OURS.get(length);
    if (name === undefined) return false;
    const records = this.#records;
    for (let n = 0; n < length; n++) if (records[at + n] !== name[n]) return false;
    return true;
  }

  /** Bytes with their length before them, as a part of the copy. */
  #bytes(): Buffer | undefined {
    const length = this.#varint();
    if (length < 0) return undefined;
    const at = this.#at + this.#shift;
    this.#at += length;
    return this.#piece.subarray(at, at + length);
  }

  /** Text with its length before it. */
  #text(): string {
    const length = Math.max(0, this.#varint());
    this.#at += length;
    return this.#records.toString("utf8", this.#at - length, this.#at);
  }

  /** A signed integer of variable length: https://protobuf.dev/programming-guides/encoding/#signed-ints */
  #varint(): number {
    const records = this.#records;
    let value = 0;
    let byte = 0;
    let unit = 1;
    do {
      byte = records[this.#at++] ?? 0;
      value += (byte & 0x7f) * unit;
      unit *= 128;
    } while (byte > 0x7f);
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }
}

/** Small records share a piece of memory, which lives as long as one of them does: as small a piece as is worth its making. */
const PIECE_BYTES = 8_192;
let piece: Buffer = NO_BYTES;
let used = 0;

/** Where in `piece` there is room for so much now. A record that is not small has a piece of its own. */
function room(length: number): number {
  if (length > PIECE_BYTES / 4 || used + length > piece.length) {
    piece = Buffer.allocUnsafeSlow(length > PIECE_BYTES / 4 ? length : PIECE_BYTES);
    used = 0;
  }
  return used;
}

/** Foreign headers may say anything. */
function numeric(text: string): number | undefined {
  const number = Number(text);
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
