import { driverError, type Place, type PublishResult, type WireRecord } from "brokerkit/driver";
import { shardId } from "../mapping.ts";
import { protocolName, readable, unavailable } from "./client-error.ts";
import type { Cluster, TopicState } from "./cluster.ts";
import { ADVICE } from "./error-names.ts";
import { Producer, type Verdict } from "./producer.ts";
import { addRecord, BATCH_HEAD, type BatchDraft, type Compression, fits, hashKey, recordSize } from "./records.ts";

/** One call of `Driver.publish`. */
export interface Call {
  readonly batch: readonly WireRecord[];
  /** By position in the batch, as far as they are known. */
  readonly results: PublishResult[];
  readonly now: number;
  readonly signal: AbortSignal;
}

/** Everything in one call that goes to one Kafka topic. */
export interface Load {
  readonly topic: TopicState;
  readonly inbox: boolean;
  /** The topic's `max.message.bytes`, as far as is known: batches are kept within it. */
  readonly limit: number;
  /** Positions in the call. */
  readonly positions: readonly number[];
}

interface Round {
  readonly batch: BatchDraft;
  readonly positions: number[];
}

/** What one partition gets: rounds, each sent when the one before it is stored. */
interface Share {
  readonly load: Load;
  readonly partition: number;
  readonly leader: number;
  readonly rounds: Round[];
}

/** Stores the records of one call at a time over connections of its own, sends nothing twice, and writes down what became of each. */
export class Sender {
  readonly #cluster: Cluster;
  readonly #producer: Producer;
  /** Where the next call puts records without a key, by Kafka topic. */
  readonly #turns = new Map<string, number>();
  /** Limits that proved to be lower than known. */
  readonly #limits = new Map<string, number>();

  constructor(cluster: Cluster, compression: Compression) {
    this.#cluster = cluster;
    this.#producer = new Producer(cluster, compression);
  }

  /** Rejects with the raw error where nothing was sent; otherwise each record of these loads has its result then. */
  async send(call: Call, loads: readonly Load[]): Promise<void> {
    const leaders = Map.groupBy(
      loads.flatMap((load) => this.#pack(call, load)),
      ({ leader }) => leader,
    );
    if (leaders.size === 0) return;
    await this.#producer.begin(call.signal);
    try {
      await Promise.all([...leaders].map(([leader, shares]) => this.#deliver(call, leader, shares)));
    } catch (raw) {
      const error = readable(raw);
      for (const { positions } of loads) for (const position of positions) call.results[position] ??= { ok: false, sent: "maybe", error };
    }
    this.#producer.settle();
  }

  /** What is under way ends in doubt. */
  close(): void {
    this.#producer.close();
  }

  /** Gives every record its partition and its round, or a result that says why it has none. */
  #pack(call: Call, load: Load): Share[] {
    const shares = new Map<number, Share>();
    const { name, partitions } = load.topic;
    const limit = Math.min(load.limit, this.#limits.get(name) ?? load.limit);
    // A topic that is coming into being may have no partition yet.
    const count = Math.max(1, partitions.length);
    let turn = this.#turns.get(name) ?? 0;
    let moves = 0;
    const hasRoom = (partition: number, size: number): boolean => {
      if ((partitions[partition]?.leader ?? -1) < 0) return false;
      const share = shares.get(partition);
      return share === undefined || fits((share.rounds[0] as Round).batch, size, limit);
    };
    for (const position of load.positions) {
      const record = call.batch[position] as WireRecord;
      const size = recordSize(record, call.now);
      // Without a key: one partition after the other, so that batches are large and one round does.
      for (; record.key === undefined && moves < count && !hasRoom(turn % count, size); moves++) turn++;
      const partition = (record.key === undefined ? turn : hashKey(record.key)) % count;
      const leader = partitions[partition]?.leader ?? -1;
      if (leader < 0) {
        this.#cluster.stale(name);
        const error = unavailable(`Partition ${partition} of "${name}" has no leader at the moment.`);
        call.results[position] = { ok: false, sent: "no", error };
        continue;
      }
      let share = shares.get(partition);
      if (share === undefined) {
        share = { load, partition, leader, rounds: [newRound()] };
        shares.set(partition, share);
      }
      const { batch, positions } = roundFor(share, size, limit);
      addRecord(batch, record, size);
      positions.push(position);
    }
    this.#turns.set(name, (turn + 1) % count);
    return [...shares.values()];
  }

  /** All that one leader gets, round by round. Nothing follows in a partition where something was not stored. */
  async #deliver(call: Call, leader: number, shares: readonly Share[]): Promise<void> {
    let going = shares;
    for (let n = 0; going.length > 0; n++) {
      const rounds = going.map(({ rounds }) => rounds[n] as Round);
      const portions = going.map(({ load, partition }, each) => ({
        topic: load.topic.name,
        partition,
        batch: (rounds[each] as Round).batch,
      }));
      const verdicts = await this.#producer.store(leader, portions, call.now, call.signal);
      going = going.filter((share, each) => {
        const verdict = verdicts[each] as Verdict;
        if (verdict.ok) this.#stored(call, share, rounds[each] as Round, verdict.base);
        else this.#notStored(call, share, n, verdict);
        return verdict.ok && n + 1 < share.rounds.length;
      });
    }
  }

  #stored({ results }: Call, { load, partition }: Share, { positions }: Round, base: number | undefined): void {
    const shard = shardId(partition, load.inbox);
    for (let n = 0; n < positions.length; n++) {
      const place = base === undefined ? undefined : (`${shard}:${base + n}` as Place);
      results[positions[n] as number] = { ok: true, place };
    }
  }

  #notStored(call: Call, { load, rounds, partition }: Share, failed: number, verdict: Verdict & { ok: false }): void {
    this.#cluster.stale(load.topic.name);
    const { batch, positions } = rounds[failed] as Round;
    const { refused, sent } = verdict;
    const error = this.#explain(load, batch, verdict);
    const after = unavailable(
      `It was not stored in partition ${partition} of "${load.topic.name}" because of another record of the same call. Publish it again.`,
    );
    positions.forEach((position, n) => {
      const fault = refused === undefined ? error : refused.has(n) ? refusal(load, verdict.error, refused.get(n)) : after;
      call.results[position] = { ok: false, sent, error: fault };
    });
    for (const later of rounds.slice(failed + 1)) {
      for (const position of later.positions) call.results[position] = { ok: false, sent: "no", error: after };
    }
  }

  #explain(load: Load, { bytes, records }: BatchDraft, { error }: Verdict & { ok: false }): unknown {
    const name = protocolName(error);
    if (name === "INVALID_RECORD" || name === "INVALID_TIMESTAMP") return refusal(load, error, undefined);
    if (name === "UNKNOWN_TOPIC_OR_PARTITION") return unavailable(`"${load.topic.name}" has just been created, moved or deleted.`, error);
    if (name !== "MESSAGE_TOO_LARGE" && name !== "RECORD_LIST_TOO_LARGE") return readable(error);
    if (records.length === 1) {
      const text = `A record of ${bytes} bytes is more than "${load.topic.name}" takes (max.message.bytes). It was not stored.`;
      return driverError("TOO_LARGE", text, { cause: error });
    }
    this.#limits.set(load.topic.name, Math.floor(bytes / 2));
    return unavailable(`"${load.topic.name}" takes smaller batches than it said (max.message.bytes). The next ones are smaller.`, error);
  }
}

function newRound(): Round {
  return { batch: { records: [], sizes: [], bytes: BATCH_HEAD }, positions: [] };
}

/** The last round where that has room for a record of this size, or else another one. */
function roundFor({ rounds }: Share, size: number, limit: number): Round {
  const last = rounds.at(-1) as Round;
  if (fits(last.batch, size, limit)) return last;
  const next = newRound();
  rounds.push(next);
  return next;
}

/** The server looked into the record and would not have it. */
function refusal(load: Load, error: unknown, said: string | null | undefined): unknown {
  const { serverErrorMessage, message } = error as { serverErrorMessage?: string | null; message: string };
  const advice = ADVICE.get(protocolName(error) ?? "") ?? "";
  const text = `"${load.topic.name}" refused the record: ${said ?? serverErrorMessage ?? message} ${advice}`.trimEnd();
  return driverError("INVALID_ARGUMENT", text, { cause: error });
}
