import type { SubscriptionEvents, Timer } from "brokerkit/driver";
import { shardId } from "../mapping.ts";
import type { LogShard } from "./batches.ts";
import { type Cluster, METADATA_MS, type Reader } from "./cluster.ts";
import { Fetcher } from "./fetcher.ts";
import type { Offsets } from "./offsets.ts";
import { PartitionReader } from "./partition.ts";

export interface LogReading {
  readonly topic: string;
  readonly isolation: 0 | 1;
  readonly events: Pick<SubscriptionEvents, "dataLoss">;
  readonly end?: Offsets;
  readonly follows?: boolean;
}

/** Reads all of a topic's partitions, without a group. It ends with its link: whoever reads opens another one behind what was read. */
export class LogReader extends Fetcher implements Reader {
  readonly topic: string;
  readonly #cluster: Cluster;
  readonly #isolation: 0 | 1;
  /** Those that have not come to the end yet, and where that is. */
  readonly #behind: Map<PartitionReader, number>;
  #timer: Timer | undefined;
  #over = false;

  /** It stops at `end`; where it `follows`, or there is none, it reads on, in partitions that are added later too. */
  constructor(cluster: Cluster, of: LogReading, from: Offsets) {
    super(cluster, { isolation: of.isolation, events: of.events, heals: false });
    this.#cluster = cluster;
    this.topic = of.topic;
    this.#isolation = of.isolation;
    const { end, follows = end === undefined } = of;
    this.add([...from].map(([partition, offset]) => this.#reader(partition, Number(offset), follows ? undefined : end?.get(partition))));
    this.#behind = new Map([...this.partitions].map((one) => [one, Number(end?.get(one.partition))]));
    if (follows) this.#watch();
    cluster.readers.add(this);
  }

  /** All before `end` has been given out, or is not for this reader. */
  get atEnd(): boolean {
    for (const [one, end] of this.#behind) if (one.position >= end || one.exhausted) this.#behind.delete(one);
    return this.#behind.size === 0;
  }

  /** Nothing to do: there is no inbox without a group, and new partitions are looked for anyway. */
  refresh(): void {}

  #reader(partition: number, from: number, until: bigint | undefined): PartitionReader {
    const shard: LogShard = { id: shardId(partition, false), inbox: false };
    const bound = until === undefined ? {} : { until: Number(until) };
    const of = { topic: this.topic, partition, shard };
    return new PartitionReader(this.#cluster.client, of, { from, isolation: this.#isolation, ...bound });
  }

  #watch(): void {
    this.#timer = this.#cluster.clock.timer(METADATA_MS, () => {
      void this.#grow()
        .catch(() => {})
        .finally(() => {
          if (!this.#over) this.#watch();
        });
    });
  }

  /** Everything in a new partition is new. */
  async #grow(): Promise<void> {
    const state = (await this.#cluster.topics([this.topic])).get(this.topic);
    const added = (state?.partitions ?? []).map((_, partition) => partition).slice(this.partitions.size);
    if (added.length > 0 && !this.#over) this.add(added.map((partition) => this.#reader(partition, 0, undefined)));
  }

  /** There is nothing to settle on the server. */
  commit(): "confirmed" {
    return "confirmed";
  }

  async flush(): Promise<void> {}

  override close(): void {
    this.#over = true;
    this.#cluster.readers.delete(this);
    this.#timer?.cancel();
    super.close();
  }
}
