import type { SubscriptionEvents, Timer, WireStart } from "brokerkit/driver";
import { topicMissing } from "../errors.ts";
import { nextOf, shardId } from "../mapping.ts";
import type { LogShard } from "./batches.ts";
import { type Cluster, METADATA_MS, type TopicState } from "./cluster.ts";
import { Fetcher } from "./fetcher.ts";
import { type Offsets, startOffsets } from "./offsets.ts";
import { PartitionReader } from "./partition.ts";

/** Where a start lies in each partition. A partition that a position does not name begins at its first offset. */
export async function offsetsOf(
  cluster: Cluster,
  state: TopicState,
  start: WireStart,
  isolation: 0 | 1,
  signal: AbortSignal,
): Promise<Offsets> {
  if (start.kind !== "position") return startOffsets(cluster, state, start, isolation, signal);
  return new Map(state.partitions.map((_, partition) => [partition, nextOf(start.cut, partition)]));
}

/** The topic as it is now. Rejects `NOT_FOUND`. */
export async function topicNow(cluster: Cluster, topic: string, signal: AbortSignal): Promise<TopicState> {
  const state = (await cluster.topics([topic], signal, 0)).get(topic);
  if (state === undefined) throw topicMissing(topic);
  return state;
}

/** Reads all of a topic's partitions, without a group. It ends with its link: whoever reads opens another one behind what was read. */
export class LogReader extends Fetcher {
  readonly #cluster: Cluster;
  readonly #topic: string;
  readonly #isolation: 0 | 1;
  #timer: Timer | undefined;
  #over = false;

  /** `until`: where to stop in each partition; without, it reads on, in partitions that are added later too. */
  constructor(
    cluster: Cluster,
    of: { readonly topic: string; readonly isolation: 0 | 1; readonly events: Pick<SubscriptionEvents, "dataLoss"> },
    from: Offsets,
    until?: Offsets,
  ) {
    super(cluster, { isolation: of.isolation, events: of.events, heals: false });
    this.#cluster = cluster;
    this.#topic = of.topic;
    this.#isolation = of.isolation;
    this.add([...from].map(([partition, offset]) => this.#reader(partition, Number(offset), until?.get(partition))));
    if (until === undefined) this.#watch();
  }

  #reader(partition: number, from: number, until: bigint | undefined): PartitionReader {
    const shard: LogShard = { id: shardId(partition, false), inbox: false };
    const bound = until === undefined ? {} : { until: Number(until) };
    const of = { topic: this.#topic, partition, shard };
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
    const state = (await this.#cluster.topics([this.#topic])).get(this.#topic);
    const added = (state?.partitions ?? []).map((_, partition) => partition).slice(this.partitions.size);
    if (added.length > 0 && !this.#over) this.add(added.map((partition) => this.#reader(partition, 0, undefined)));
  }

  override close(): void {
    this.#over = true;
    this.#timer?.cancel();
    super.close();
  }
}
