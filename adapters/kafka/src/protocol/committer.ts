import { classify, topicMissing } from "../errors.ts";
import { protocolName, readable, unavailable } from "./client-error.ts";
import type { Cluster } from "./cluster.ts";
import { named } from "./error-names.ts";
import type { MemberEpoch } from "./membership.ts";
import { commitOffsets } from "./offsets.ts";
import type { PartitionReader } from "./partition.ts";
import { bounded, pause } from "./waiting.ts";

/** What became of a head, as `Subscription.ack` says it. */
export type Verdict = "confirmed" | "lost" | { readonly error: unknown };

interface Head {
  /** The offset to commit: the next one to deliver. */
  next: number;
  readonly verdict: PromiseWithResolvers<Verdict>;
  lost: boolean;
}

const AGAIN_MS = 50;
/** How long a note beside an offset may be; the server's offset.metadata.max.bytes is 4,096 unless it is told otherwise. */
const NOTE_BYTES = 4_000;
const REQUEST_MS = 5_000;

/** Somebody else has this member's place. */
const FENCED = named("UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID FENCED_MEMBER_EPOCH");
/** The group has another generation now, or will have. What is owned throughout is committed under the new one; what is not is lost soon. */
const MOVING = named("ILLEGAL_GENERATION STALE_MEMBER_EPOCH REBALANCE_IN_PROGRESS");

/**
 * Commits the heads of partitions for one member: one request at a time, with whatever came meanwhile. A head stays pending until the
 * coordinator has it or the partition is lost: ownership outlives a link.
 */
export class Committer {
  readonly #cluster: Cluster;
  readonly #groupId: string;
  readonly #epoch: () => MemberEpoch;
  readonly #closing = new AbortController();
  #waiting = new Map<PartitionReader, Head>();
  #sending: ReadonlyMap<PartitionReader, Head> = new Map();
  #running = false;
  #noteBytes = NOTE_BYTES;

  constructor(cluster: Cluster, groupId: string, epoch: () => MemberEpoch) {
    this.#cluster = cluster;
    this.#groupId = groupId;
    this.#epoch = epoch;
  }

  /** Resolves once this head, or a later one of the partition, has its verdict. */
  commit(reader: PartitionReader, next: number): Promise<Verdict> {
    if (this.#closing.signal.aborted) return Promise.resolve("lost");
    const head = this.#waiting.get(reader) ?? { next, verdict: Promise.withResolvers<Verdict>(), lost: false };
    head.next = Math.max(head.next, next);
    this.#waiting.set(reader, head);
    if (!this.#running) {
      this.#running = true;
      queueMicrotask(() => void this.#run());
    }
    return head.verdict.promise;
  }

  /** These are owned no more: what is pending of them is not sent again. */
  lose(readers: Iterable<PartitionReader>): void {
    for (const reader of readers) {
      for (const head of [this.#waiting.get(reader), this.#sending.get(reader)]) {
        if (head === undefined) continue;
        head.lost = true;
        head.verdict.resolve("lost");
      }
      this.#waiting.delete(reader);
    }
  }

  /** Resolves when everything given so far, of these or of all, has its verdict. */
  async flush(readers?: readonly PartitionReader[]): Promise<void> {
    const heads = [...this.#waiting, ...this.#sending].filter(([reader]) => readers === undefined || readers.includes(reader));
    await Promise.all(heads.map(([, { verdict }]) => verdict.promise));
  }

  /** What is pending is lost. */
  close(): void {
    this.#closing.abort();
    this.lose([...this.#waiting.keys(), ...this.#sending.keys()]);
  }

  async #run(): Promise<void> {
    while (this.#waiting.size > 0) {
      this.#sending = this.#waiting;
      this.#waiting = new Map();
      const sent = [...Map.groupBy(this.#sending, ([{ topic }]) => topic)];
      const again = (await Promise.all(sent.map(([topic, heads]) => this.#send(topic, heads)))).includes("again");
      this.#sending = new Map();
      if (again) await pause(this.#cluster, AGAIN_MS, this.#closing.signal).catch(() => {});
    }
    this.#running = false;
  }

  /** Each topic by itself: one that is deleted does not hold up the other. */
  async #send(topic: string, heads: readonly (readonly [PartitionReader, Head])[]): Promise<"done" | "again"> {
    const offsets = new Map(heads.map(([{ partition }, { next }]) => [partition, BigInt(next)]));
    const notes = new Map(heads.map(([{ partition, delays }, { next }]) => [partition, delays?.over.text(next, this.#noteBytes)]));
    const noteOf = (partition: number): string | undefined => notes.get(partition);
    const late = (): unknown => unavailable(`A commit was not answered within ${REQUEST_MS} ms.`);
    const commit = (signal: AbortSignal): Promise<void> =>
      commitOffsets(this.#cluster, this.#groupId, new Map([[topic, offsets]]), signal, this.#epoch(), noteOf);
    const verdict = await bounded(this.#cluster.clock, REQUEST_MS, late, commit, this.#closing.signal).then(
      () => "confirmed" as const,
      (error: unknown) => this.#judge(topic, error),
    );
    if (verdict !== "again") {
      for (const [, head] of heads) head.verdict.resolve(verdict);
      return "done";
    }
    for (const [reader, head] of heads) if (!head.lost) this.#keep(reader, head);
    return "again";
  }

  /** For another try. */
  #keep(reader: PartitionReader, head: Head): void {
    const newer = this.#waiting.get(reader);
    if (newer === undefined) this.#waiting.set(reader, head);
    else void newer.verdict.promise.then(head.verdict.resolve);
  }

  async #judge(topic: string, error: unknown): Promise<Verdict | "again"> {
    const name = protocolName(error);
    if (name === undefined) return classify(error).retryable ? "again" : { error: readable(error) };
    if (FENCED.has(name)) return "lost";
    if (MOVING.has(name) || name === "NOT_COORDINATOR") return "again";
    if (name === "OFFSET_METADATA_TOO_LARGE" && this.#noteBytes > 0) {
      this.#noteBytes = this.#noteBytes >>> 1;
      return "again";
    }
    if (name === "UNKNOWN_TOPIC_OR_PARTITION") {
      // The coordinator may not have heard of a new topic yet.
      this.#cluster.stale(topic);
      const states = await this.#cluster.topics([topic]).catch(() => undefined);
      return states === undefined || states.get(topic) !== undefined ? "again" : { error: topicMissing(topic) };
    }
    return classify(error).retryable ? "again" : { error: readable(error) };
  }
}
