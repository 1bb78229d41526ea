import { type LogShard, RecordBatch, type RecordDelivery } from "./batches.ts";
import { Delays } from "./delays.ts";
import type { FetchedPartition } from "./fetch.ts";
import { Ranges } from "./ranges.ts";
import type { Client } from "./requests.ts";

/** What one answer brought of a partition. */
interface Piece {
  readonly batches: RecordBatch[];
  /** By the offset from which on they are void. */
  readonly aborted: { readonly producerId: number; readonly from: number }[];
  /** Producers whose transaction is void where reading is. */
  readonly voided: Set<number>;
}

/** One partition as one reader has it: where it stands, and what is fetched and not given out yet. */
export class PartitionReader {
  readonly topic: string;
  readonly partition: number;
  readonly shard: LogShard;
  /** Nothing at or behind this offset is wanted. */
  readonly until: number;
  /** Everything before is given out, or not for this reader. */
  position: number;
  /** What to fetch next. */
  fetchAt: number;
  /** The leader's epoch of the last batch fetched, for the leader to notice that its log has another past (KIP-320). */
  fetchedEpoch = -1;
  /** The node to ask; −1 while it is not known. */
  leader = -1;
  leaderEpoch = -1;
  paused = false;
  /** A request for it is under way. */
  busy = false;
  /** Its turn among those that are asked for together: the higher, the later something of it came. */
  fed = 0;
  /** It could not be fetched the last time. */
  down = false;
  /** Between the fetch position and the log's end there is nothing: what was stored there was compacted away. */
  hollow = false;
  /** What is fetched and not read yet, in bytes as they came. */
  buffered = 0;
  readonly delays: Delays | undefined;
  readonly #client: Client;
  readonly #committedOnly: boolean;
  readonly #pieces: Piece[] = [];
  #open: RecordBatch | undefined;

  constructor(
    client: Client,
    of: { readonly topic: string; readonly partition: number; readonly shard: LogShard },
    reading: { readonly from: number; readonly over?: Ranges | undefined; readonly until?: number; readonly isolation: 0 | 1 },
  ) {
    this.#client = client;
    this.topic = of.topic;
    this.partition = of.partition;
    this.shard = of.shard;
    this.position = reading.from;
    this.fetchAt = reading.from;
    this.until = reading.until ?? Number.POSITIVE_INFINITY;
    this.#committedOnly = reading.isolation === 1;
    this.delays = of.shard.inbox ? new Delays(reading.over ?? new Ranges()) : undefined;
  }

  /** The fetch position is where this reader ends. */
  get done(): boolean {
    return this.position >= this.until;
  }

  /** All that there is has been given out, though offsets are left. */
  get exhausted(): boolean {
    return this.hollow && this.buffered === 0;
  }

  /** Nothing is taken from it now, until it goes on, or what it holds back is due. */
  get held(): boolean {
    return this.paused || this.delays?.full === true;
  }

  /** Returns whether that was anything. */
  add({ records, aborted }: FetchedPartition): boolean {
    const batches = RecordBatch.split(records);
    const last = batches.at(-1);
    if (last === undefined) return false;
    this.hollow = false;
    this.fetchAt = last.last + 1;
    this.fetchedEpoch = last.epoch;
    for (const { bytes } of batches) this.buffered += bytes.length;
    this.#pieces.push({ batches, aborted: [...aborted].sort((a, b) => a.from - b.from), voided: new Set() });
    return true;
  }

  /** What lies between is gone: goes on at this offset once what is fetched is given out. */
  skipTo(offset: number): void {
    this.fetchAt = offset;
    this.fetchedEpoch = -1;
    if (this.#pieces.length === 0) this.position = offset;
  }

  /** Forgets what is fetched, and goes on from this offset. */
  moveTo(offset: number): void {
    this.#pieces.length = 0;
    this.#open = undefined;
    this.buffered = 0;
    this.position = offset;
    this.fetchAt = offset;
    this.fetchedEpoch = -1;
  }

  /** The next record for the application, with `now` in epoch ms. Throws for what can't be read. */
  next(now: number): RecordDelivery | undefined {
    const { delays } = this;
    if (delays === undefined) return this.#read();
    let record = delays.take(now);
    while (record === undefined && !delays.full) {
      record = this.#read();
      if (record === undefined) break;
      if (delays.over.has(record.offset)) record = undefined;
      else if (record.due > now) {
        delays.hold(record);
        record = undefined;
      }
    }
    if (record !== undefined) delays.given(record.offset);
    return record;
  }

  #read(): RecordDelivery | undefined {
    for (;;) {
      const batch = this.#open ?? this.#begin();
      if (batch === undefined) return undefined;
      const record = batch.next(this.shard, this.position);
      if (record === undefined) {
        this.#end(batch);
      } else if (record.offset >= this.until) {
        this.moveTo(this.until);
        return undefined;
      } else {
        this.position = record.offset + 1;
        return record;
      }
    }
  }

  /** Opens the next batch that has records for the application. What a compacted log has lost of its offsets is passed over. */
  #begin(): RecordBatch | undefined {
    for (;;) {
      const piece = this.#pieces[0];
      const batch = piece?.batches[0];
      if (piece === undefined || batch === undefined) {
        this.position = this.fetchAt;
        return undefined;
      }
      if (batch.first >= this.until) {
        this.moveTo(this.until);
        return undefined;
      }
      if (batch.last >= this.position) {
        batch.open(this.#client);
        const voided = this.#committedOnly && isVoid(piece, batch);
        if (!batch.control && !voided) {
          this.#open = batch;
          return batch;
        }
        if (batch.control && batch.aborts) piece.voided.delete(batch.producerId);
      }
      this.#end(batch);
    }
  }

  #end(batch: RecordBatch): void {
    const batches = this.#pieces[0]?.batches;
    batches?.shift();
    if (batches?.length === 0) this.#pieces.shift();
    this.#open = undefined;
    this.buffered -= batch.bytes.length;
    this.position = Math.max(this.position, batch.last + 1);
  }
}

/** Whether a batch belongs to a transaction that was given up: https://kafka.apache.org/protocol#The_Messages_Fetch */
function isVoid({ aborted, voided }: Piece, { transactional, producerId, last }: RecordBatch): boolean {
  while (aborted[0] !== undefined && aborted[0].from <= last) voided.add((aborted.shift() as Piece["aborted"][number]).producerId);
  return transactional && voided.has(producerId);
}
