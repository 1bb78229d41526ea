import { driverError } from "brokerkit/driver";
import { protocolName, unavailable } from "./client-error.ts";
import type { Cluster } from "./cluster.ts";
import { named } from "./error-names.ts";
import { type Line, REQUEST_MS } from "./line.ts";
import { type BatchDraft, type Compression, type Compressor, encodeBatch } from "./records.ts";
import { type Client, type Connection, sendAs } from "./requests.ts";
import { bounded, pause } from "./waiting.ts";

/** Records for one partition, sent together. */
export interface Portion {
  readonly topic: string;
  readonly partition: number;
  readonly batch: BatchDraft;
}

/** What became of a portion. `base`: the offset of its first record, where the server said so. */
export type Verdict =
  | { readonly ok: true; readonly base: number | undefined }
  | {
      readonly ok: false;
      readonly sent: "no" | "maybe";
      readonly error: unknown;
      /** Indexes of the records that the server would not have, with what it said; the others were refused because of them. */
      readonly refused?: ReadonlyMap<number, string | null | undefined> | undefined;
    };

type Form = Client["produceV11"];
type Answer = ReturnType<Form["parseResponse"]>;
type PartitionAnswer = Answer["responses"][number]["partitionResponses"][number];

/** All replicas in sync have it. */
const ACKS_ALL = -1;
/** How long a leader waits for its followers; it answers before `REQUEST_MS` is over. */
const ACK_MS = REQUEST_MS - 5_000;
const LOADING_MS = 20;
const LAST_EPOCH = 32_767;
const SEQUENCES = 2 ** 31;

/**
 * Answers of a leader that did not append the records: the sequence of its partition goes on as it was. A leader that had appended them and
 * stopped leading while it waited for its followers says NOT_LEADER_OR_FOLLOWER as well, but with an offset: see `judge`.
 */
const REFUSED = named(
  `UNKNOWN_TOPIC_OR_PARTITION LEADER_NOT_AVAILABLE NOT_LEADER_OR_FOLLOWER REPLICA_NOT_AVAILABLE FENCED_LEADER_EPOCH
   UNKNOWN_LEADER_EPOCH NOT_ENOUGH_REPLICAS MESSAGE_TOO_LARGE RECORD_LIST_TOO_LARGE CORRUPT_MESSAGE INVALID_RECORD INVALID_TIMESTAMP
   INVALID_TOPIC_EXCEPTION INVALID_REQUIRED_ACKS UNSUPPORTED_FOR_MESSAGE_FORMAT UNSUPPORTED_COMPRESSION_TYPE POLICY_VIOLATION
   TOPIC_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED UNKNOWN_PRODUCER_ID INVALID_PRODUCER_ID_MAPPING INVALID_PRODUCER_EPOCH
   PRODUCER_FENCED`,
);
/** Refused because of who sent them: only another producer id helps. */
const DISOWNED = named("UNKNOWN_PRODUCER_ID INVALID_PRODUCER_ID_MAPPING INVALID_PRODUCER_EPOCH PRODUCER_FENCED");

/**
 * An idempotent producer (KIP-98) that sends every record once. One call at a time, each ended by `settle`.
 *
 * The server takes a batch that repeats sequence numbers for a copy and answers as if it had stored it. So a number may be used again only
 * where the server has certainly not used it; after any doubt the producer goes on under the next epoch (KIP-360), whose numbers start anew.
 * The first batch of the new epoch also bars its partition to bytes of the old one that are still on their way.
 */
export class Producer {
  readonly #cluster: Cluster;
  readonly #compressor: Compressor | undefined;
  #line: Line | undefined;
  #identity: { readonly id: bigint; epoch: number } | undefined;
  /** The next sequence number by topic and partition. */
  readonly #sequences = new Map<string, Map<number, number>>();
  #doubt = false;
  #disowned = false;
  #broken = false;

  constructor(cluster: Cluster, compression: Compression) {
    this.#cluster = cluster;
    this.#compressor = compression === "none" ? undefined : (cluster.client.compressionsAlgorithms[compression] as Compressor);
  }

  /** Gets an identity where there is none. Rejects with the raw error; nothing was sent then. */
  async begin(signal: AbortSignal): Promise<void> {
    if (this.#identity !== undefined) return;
    const late = (): unknown => driverError("TIMEOUT", `No server gave a producer id within ${REQUEST_MS} ms. Nothing was sent.`);
    await bounded(this.#cluster.clock, REQUEST_MS, late, (bound) => this.#identify(bound), signal);
  }

  async #identify(bound: AbortSignal): Promise<void> {
    while (this.#identity === undefined) {
      try {
        const { producerId, producerEpoch } = await this.#cluster.ask("any", "InitProducerId", [null, 0, -1n, -1], bound);
        this.#identity = { id: producerId, epoch: producerEpoch };
        this.#sequences.clear();
      } catch (error) {
        // The server is fetching its next thousand of them.
        if (protocolName(error) !== "COORDINATOR_LOAD_IN_PROGRESS") throw error;
        await pause(this.#cluster, LOADING_MS, bound);
      }
    }
  }

  /** Asks a leader once to store these portions, one of each partition at the most. Never rejects; one verdict for each. */
  async store(leader: number, portions: readonly Portion[], now: number, signal: AbortSignal): Promise<readonly Verdict[]> {
    let written = false;
    let answer: Answer;
    try {
      const records = await Promise.all(portions.map((portion) => this.#encode(portion, now)));
      const form = this.#cluster.form("Produce");
      const send = (connection: Connection): Promise<Answer> => {
        if (!connection.isConnected()) throw unavailable(`The connection to the node ${leader} is about to be replaced.`);
        written = true;
        return sendAs(connection, form.api, () => this.#frame(portions, records), form.parseResponse);
      };
      this.#line ??= this.#cluster.line();
      const line = this.#line;
      const late = (): unknown => unanswered(leader);
      answer = await bounded(this.#cluster.clock, REQUEST_MS, late, (bound) => line.call(leader, send, [], bound), signal);
    } catch (error) {
      const response = (error as { response?: Answer } | null)?.response;
      if (response === undefined) return this.#failed(portions, error, written);
      answer = response;
    }
    return this.#judge(portions, answer);
  }

  /** Ends a call: nothing of it is sent any more. */
  settle(): void {
    if (this.#broken) {
      this.#line?.close();
      this.#line = undefined;
    }
    const spent = this.#doubt && this.#identity?.epoch === LAST_EPOCH;
    if (this.#disowned || spent) this.#identity = undefined;
    else if (this.#doubt && this.#identity !== undefined) this.#identity.epoch++;
    if (this.#disowned || this.#doubt) this.#sequences.clear();
    this.#broken = this.#disowned = this.#doubt = false;
  }

  close(): void {
    this.#line?.close();
  }

  #encode({ topic, partition, batch }: Portion, now: number): Promise<Buffer> {
    const { id, epoch } = this.#identity as { id: bigint; epoch: number };
    const sequence = this.#sequences.get(topic)?.get(partition) ?? 0;
    return encodeBatch(batch, now, { producerId: id, epoch, sequence }, this.#cluster.client.crc32c, this.#compressor);
  }

  /** https://kafka.apache.org/protocol#The_Messages_Produce, versions 9 to 11. */
  #frame(portions: readonly Portion[], records: readonly Buffer[]): InstanceType<Client["Writer"]> {
    const topics = new Map<string, number[]>();
    portions.forEach(({ topic }, n) => {
      const inside = topics.get(topic);
      if (inside === undefined) topics.set(topic, [n]);
      else inside.push(n);
    });
    return this.#cluster.client.Writer.create()
      .appendString(null)
      .appendInt16(ACKS_ALL)
      .appendInt32(ACK_MS)
      .appendArray([...topics], (writer, [topic, inside]) => {
        writer.appendString(topic).appendArray(inside, (each, n) => {
          const bytes = records[n] as Buffer;
          each
            .appendInt32((portions[n] as Portion).partition)
            .appendUnsignedVarInt(bytes.length + 1)
            .append(bytes);
        });
      })
      .appendTaggedFields();
  }

  #failed(portions: readonly Portion[], error: unknown, written: boolean): readonly Verdict[] {
    this.#broken = true;
    if (written) this.#doubt = true;
    return portions.map(() => ({ ok: false, sent: written ? "maybe" : "no", error }));
  }

  #judge(portions: readonly Portion[], { responses }: Answer): readonly Verdict[] {
    return portions.map((portion) => {
      const inside = responses.find(({ name }) => name === portion.topic)?.partitionResponses;
      return this.#verdict(
        portion,
        inside?.find(({ index }) => index === portion.partition),
      );
    });
  }

  #verdict({ topic, partition, batch }: Portion, answer: PartitionAnswer | undefined): Verdict {
    if (answer === undefined) {
      this.#doubt = true;
      return {
        ok: false,
        sent: "maybe",
        error: unavailable(`The answer to a Produce request leaves partition ${partition} of "${topic}" out.`),
      };
    }
    const { errorCode, errorMessage, baseOffset, recordErrors } = answer;
    if (errorCode === 0) {
      this.#advance(topic, partition, batch.records.length);
      return { ok: true, base: baseOffset < 0n ? undefined : Number(baseOffset) };
    }
    const error = new this.#cluster.client.ProtocolError(errorCode, errorMessage);
    const name = (error as { apiId?: string }).apiId ?? "";
    if (DISOWNED.has(name)) this.#disowned = true;
    // An offset means that the records are in this leader's log, whatever became of the rest.
    if (REFUSED.has(name) && baseOffset < 0n) {
      const refused = new Map(recordErrors.map(({ batchIndex, batchIndexErrorMessage }) => [batchIndex, batchIndexErrorMessage]));
      return { ok: false, sent: "no", error, refused: refused.size > 0 ? refused : undefined };
    }
    this.#doubt = true;
    return { ok: false, sent: "maybe", error };
  }

  #advance(topic: string, partition: number, count: number): void {
    let inside = this.#sequences.get(topic);
    if (inside === undefined) {
      inside = new Map();
      this.#sequences.set(topic, inside);
    }
    inside.set(partition, ((inside.get(partition) ?? 0) + count) % SEQUENCES);
  }
}

function unanswered(leader: number): unknown {
  return driverError("TIMEOUT", `The node ${leader} has not answered for ${REQUEST_MS} ms. The records may have been stored.`);
}
