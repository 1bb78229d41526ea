import { driverError, type Place, type Shard, type WireDelivery, type WireHeader } from "brokerkit/driver";
import { DUE, FAILURES, ID, PUBLISHED } from "../mapping.ts";
import type { Client } from "./cluster.ts";

/** One ownership of a partition. */
export interface LogShard extends Shard {
  readonly inbox: boolean;
}

/** One record as core gets it. Its bytes are a copy of its own: what is held for long keeps no fetched batch in memory. */
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

  constructor(shard: LogShard, offset: number, time: number, key: Uint8Array | undefined, body: Uint8Array | null, own: Own | undefined) {
    this.shard = shard;
    this.offset = offset;
    this.key = key;
    this.body = body;
    this.headers = own?.others ?? NO_HEADERS;
    this.id = own?.id;
    this.publishedAt = own?.published ?? time;
    this.failures = own?.failures ?? 0;
    this.due = own?.due ?? 0;
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

/** What our headers say of a record, and the user's. */
interface Own {
  id: string | undefined;
  failures: number;
  due: number;
  published: number | undefined;
  readonly others: WireHeader[];
}

const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);
const NO_BYTES = Buffer.alloc(0);

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
    const own = room(length);
    this.#records.copy(own, 0, begin, begin + length);
    const key = this.#bytes(own, begin);
    const body = this.#bytes(own, begin);
    const headers = this.#headers(own, begin);
    const time = (this.#attributes & APPEND_TIME) === 0 ? this.#time + delta : this.#time;
    return new RecordDelivery(shard, offset, time, key, body ?? null, headers);
  }

  #headers(own: Buffer, begin: number): Own | undefined {
    const count = this.#varint();
    if (count === 0) return undefined;
    const found: Own = { id: undefined, failures: 0, due: 0, published: undefined, others: [] };
    for (let n = 0; n < count; n++) {
      const length = this.#varint();
      const at = this.#at - begin;
      const name = own.toString("utf8", at, at + length);
      this.#at += length;
      const value = this.#bytes(own, begin) ?? NO_BYTES;
      if (name === ID) found.id = value.toString();
      else if (name === FAILURES) found.failures = numeric(value) ?? 0;
      else if (name === DUE) found.due = numeric(value) ?? 0;
      else if (name === PUBLISHED) found.published = numeric(value);
      else found.others.push([name, value]);
    }
    return found;
  }

  /** Bytes with their length before them, as a part of `own`, which holds the record from `begin` on. */
  #bytes(own: Buffer, begin: number): Buffer | undefined {
    const length = this.#varint();
    if (length < 0) return undefined;
    const at = this.#at - begin;
    this.#at += length;
    return own.subarray(at, at + length);
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
const SHARED_BYTES = 8_192;
let shared = NO_BYTES;
let used = SHARED_BYTES;

function room(length: number): Buffer {
  if (length > SHARED_BYTES / 4) return Buffer.allocUnsafeSlow(length);
  if (used + length > SHARED_BYTES) {
    shared = Buffer.allocUnsafeSlow(SHARED_BYTES);
    used = 0;
  }
  used += length;
  return shared.subarray(used - length, used);
}

/** Foreign headers may say anything. */
function numeric(value: Buffer): number | undefined {
  const number = Number(value.toString("latin1"));
  return Number.isSafeInteger(number) && number >= 0 ? number : undefined;
}
