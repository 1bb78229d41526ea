import { driverError, type Place, type PublishResult, type WireRecord } from "brokerkit/driver";
import { protocolName, readable, topicMissing, unavailable } from "./errors.ts";
import { inboxOf, shardId } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import type { Cluster, TopicState } from "./protocol/cluster.ts";
import { ADVICE } from "./protocol/error-names.ts";
import { createInbox } from "./protocol/inbox.ts";
import { Producer, type Verdict } from "./protocol/producer.ts";
import { addRecord, BATCH_HEAD, type BatchDraft, fits, hashKey, recordSize } from "./protocol/records.ts";

/** What a publisher asks of its driver, and tells it. */
export interface PublisherWiring {
  /** A topic's `max.message.bytes`, where it is known: batches are kept within it. */
  readonly limitOf?: (topic: string) => number | undefined;
  /** The inbox of a group of this topic has just been created: its members need to look. */
  readonly inboxMade?: (topic: string) => void;
}

/** Kafka's default of `max.message.bytes`. */
const DEFAULT_LIMIT = 1_048_588;

/** Everything in one call that goes to one Kafka topic. */
interface Route {
  readonly name: string;
  readonly topic: string;
  readonly inbox: boolean;
  /** Positions in the call. */
  readonly positions: number[];
}

interface Round {
  readonly batch: BatchDraft;
  readonly positions: number[];
}

/** What one partition gets: rounds, each sent when the one before it is stored. */
interface Share {
  readonly route: Route;
  readonly partition: number;
  readonly leader: number;
  readonly rounds: Round[];
}

/** One call of `Driver.publish`. */
interface Call {
  readonly batch: readonly WireRecord[];
  readonly results: PublishResult[];
  readonly now: number;
  readonly signal: AbortSignal;
}

/** Publishes over connections of its own, one call at a time, and sends nothing twice. */
export class Publisher {
  readonly #cluster: Cluster;
  readonly #wiring: PublisherWiring;
  readonly #producer: Producer;
  /** Where the next call puts records without a key, by Kafka topic. */
  readonly #turns = new Map<string, number>();
  /** Limits that proved to be lower than known. */
  readonly #limits = new Map<string, number>();
  #closed = false;

  constructor(cluster: Cluster, behaviour: Behaviour, wiring: PublisherWiring = {}) {
    this.#cluster = cluster;
    this.#wiring = wiring;
    this.#producer = new Producer(cluster, behaviour.compression);
  }

  /** See `Driver.publish`: never rejects, one result per record. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const call: Call = { batch, results: new Array(batch.length), now: this.#cluster.clock.now(), signal };
    let sent: "no" | "maybe" = "no";
    try {
      if (this.#closed || this.#cluster.closed) throw unavailable("The connection to the cluster is closed.");
      signal.throwIfAborted();
      const leaders = await this.#place(call);
      if (leaders.size > 0) await this.#producer.begin(signal);
      sent = "maybe";
      await Promise.all([...leaders].map(([leader, shares]) => this.#deliver(call, leader, shares)));
    } catch (raw) {
      const error = readable(raw);
      for (let n = 0; n < batch.length; n++) call.results[n] ??= { ok: false, sent, error };
    }
    this.#producer.settle();
    return call.results;
  }

  /** What is under way ends in doubt. */
  close(): void {
    this.#closed = true;
    this.#producer.close();
  }

  // ---- where records go
  /** Gives every record its partition, or a result that says why it has none; by leader. */
  async #place(call: Call): Promise<ReadonlyMap<number, readonly Share[]>> {
    const routes = routesOf(call.batch);
    const names = routes.map(({ name }) => name);
    // One request for all; what spoils it, such as a topic that may not be looked at, is found out below and spoils only its own records.
    if (names.length > 1) await this.#cluster.topics(names, call.signal).catch(() => {});
    const leaders = new Map<number, Share[]>();
    await Promise.all(
      routes.map(async (route) => {
        try {
          const state = await this.#state(route, call.signal);
          for (const share of this.#share(call, route, state)) {
            const shares = leaders.get(share.leader);
            if (shares === undefined) leaders.set(share.leader, [share]);
            else shares.push(share);
          }
        } catch (raw) {
          const error = readable(raw);
          for (const position of route.positions) call.results[position] = { ok: false, sent: "no", error };
        }
      }),
    );
    return leaders;
  }

  async #state({ name, topic, inbox }: Route, signal: AbortSignal): Promise<TopicState> {
    const state = await this.#known(name, signal);
    if (state !== undefined) return state;
    const origin = inbox ? await this.#known(topic, signal) : undefined;
    if (origin === undefined) throw topicMissing(topic);
    const made = await createInbox(this.#cluster, origin, name, signal);
    this.#wiring.inboxMade?.(topic);
    return made;
  }

  /** A topic that seems to be missing may just have been created. */
  async #known(name: string, signal: AbortSignal): Promise<TopicState | undefined> {
    const cached = (await this.#cluster.topics([name], signal)).get(name);
    return cached ?? (await this.#cluster.topics([name], signal, 0)).get(name);
  }

  #share(call: Call, route: Route, { partitions }: TopicState): Share[] {
    const shares = new Map<number, Share>();
    const limit = this.#limit(route);
    const count = partitions.length;
    let turn = this.#turns.get(route.name) ?? 0;
    let moves = 0;
    const hasRoom = (partition: number, size: number): boolean => {
      if ((partitions[partition]?.leader ?? -1) < 0) return false;
      const share = shares.get(partition);
      return share === undefined || fits((share.rounds[0] as Round).batch, size, limit);
    };
    for (const position of route.positions) {
      const record = call.batch[position] as WireRecord;
      const size = recordSize(record, call.now);
      // Without a key: one partition after the other, so that batches are large and one round does.
      for (; record.key === undefined && moves < count && !hasRoom(turn % count, size); moves++) turn++;
      const partition = (record.key === undefined ? turn : hashKey(record.key)) % count;
      const leader = partitions[partition]?.leader ?? -1;
      if (leader < 0) {
        this.#cluster.stale(route.name);
        const error = unavailable(`Partition ${partition} of "${route.name}" has no leader at the moment.`);
        call.results[position] = { ok: false, sent: "no", error };
        continue;
      }
      let share = shares.get(partition);
      if (share === undefined) {
        share = { route, partition, leader, rounds: [newRound()] };
        shares.set(partition, share);
      }
      let round = share.rounds.at(-1) as Round;
      if (!fits(round.batch, size, limit)) {
        round = newRound();
        share.rounds.push(round);
      }
      addRecord(round.batch, record, size);
      round.positions.push(position);
    }
    this.#turns.set(route.name, (turn + 1) % count);
    return [...shares.values()];
  }

  #limit({ name, topic }: Route): number {
    const known = this.#wiring.limitOf?.(topic) ?? DEFAULT_LIMIT;
    return Math.min(known, this.#limits.get(name) ?? known);
  }

  // ---- sending
  /** All that one leader gets, round by round. Nothing follows in a partition where something was not stored. */
  async #deliver(call: Call, leader: number, shares: readonly Share[]): Promise<void> {
    let going = shares;
    for (let n = 0; going.length > 0; n++) {
      const rounds = going.map(({ rounds }) => rounds[n] as Round);
      const portions = going.map(({ route, partition }, each) => ({ topic: route.name, partition, batch: (rounds[each] as Round).batch }));
      const verdicts = await this.#producer.store(leader, portions, call.now, call.signal);
      going = going.filter((share, each) => {
        const verdict = verdicts[each] as Verdict;
        if (verdict.ok) this.#stored(call, share, rounds[each] as Round, verdict.base);
        else this.#notStored(call, share, n, verdict);
        return verdict.ok && n + 1 < share.rounds.length;
      });
    }
  }

  #stored({ results }: Call, { route, partition }: Share, { positions }: Round, base: number | undefined): void {
    const shard = shardId(partition, route.inbox);
    for (let n = 0; n < positions.length; n++) {
      const place = base === undefined ? undefined : (`${shard}:${base + n}` as Place);
      results[positions[n] as number] = { ok: true, place };
    }
  }

  #notStored(call: Call, { route, rounds, partition }: Share, failed: number, verdict: Verdict & { ok: false }): void {
    this.#cluster.stale(route.name);
    const { batch, positions } = rounds[failed] as Round;
    const { refused, sent } = verdict;
    const error = this.#explain(route, batch, verdict);
    const after = unavailable(
      `It was not stored in partition ${partition} of "${route.name}" because of another record of the same call. Publish it again.`,
    );
    positions.forEach((position, n) => {
      const fault = refused === undefined ? error : refused.has(n) ? refusal(route, verdict.error, refused.get(n)) : after;
      call.results[position] = { ok: false, sent, error: fault };
    });
    for (const later of rounds.slice(failed + 1)) {
      for (const position of later.positions) call.results[position] = { ok: false, sent: "no", error: after };
    }
  }

  #explain(route: Route, { bytes, records }: BatchDraft, { error }: Verdict & { ok: false }): unknown {
    const name = protocolName(error);
    if (name === "INVALID_RECORD" || name === "INVALID_TIMESTAMP") return refusal(route, error, undefined);
    if (name === "UNKNOWN_TOPIC_OR_PARTITION") return unavailable(`"${route.name}" has just been created, moved or deleted.`, error);
    if (name !== "MESSAGE_TOO_LARGE" && name !== "RECORD_LIST_TOO_LARGE") return readable(error);
    if (records.length === 1) {
      const text = `A record of ${bytes} bytes is more than "${route.name}" takes (max.message.bytes). It was not stored.`;
      return driverError("TOO_LARGE", text, { cause: error });
    }
    this.#limits.set(route.name, Math.floor(bytes / 2));
    return unavailable(`"${route.name}" takes smaller batches than it said (max.message.bytes). The next ones are smaller.`, error);
  }
}

function newRound(): Round {
  return { batch: { records: [], sizes: [], bytes: BATCH_HEAD }, positions: [] };
}

function routesOf(batch: readonly WireRecord[]): Route[] {
  const routes = new Map<string, Route>();
  let last: { readonly topic: string; readonly group: string | undefined; readonly route: Route } | undefined;
  for (let n = 0; n < batch.length; n++) {
    const { topic, group } = (batch[n] as WireRecord).target;
    if (last === undefined || last.topic !== topic || last.group !== group) {
      const name = group === undefined ? topic : inboxOf(topic, group);
      const route = routes.get(name) ?? { name, topic, inbox: group !== undefined, positions: [] };
      routes.set(name, route);
      last = { topic, group, route };
    }
    last.route.positions.push(n);
  }
  return [...routes.values()];
}

/** The server looked into the record and would not have it. */
function refusal(route: Route, error: unknown, said: string | null | undefined): unknown {
  const { serverErrorMessage, message } = error as { serverErrorMessage?: string | null; message: string };
  const advice = ADVICE.get(protocolName(error) ?? "") ?? "";
  const text = `"${route.name}" refused the record: ${said ?? serverErrorMessage ?? message} ${advice}`.trimEnd();
  return driverError("INVALID_ARGUMENT", text, { cause: error });
}
