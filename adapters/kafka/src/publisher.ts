import type { PublishResult, WireRecord } from "brokerkit/driver";
import { topicMissing } from "./errors.ts";
import { inboxOf } from "./mapping.ts";
import type { Behaviour } from "./options.ts";
import { readable, unavailable } from "./protocol/client-error.ts";
import type { Cluster, TopicState } from "./protocol/cluster.ts";
import { type Call, type Load, Sender } from "./protocol/sender.ts";
import { createInbox } from "./protocol/topics.ts";
import { until } from "./protocol/waiting.ts";

/** What a publisher asks of its driver. */
export interface PublisherWiring {
  /** A topic's `max.message.bytes`, as far as is known. */
  readonly limitOf: (topic: string) => number;
}

/** Everything in one call that goes to one Kafka topic. */
interface Route {
  readonly name: string;
  readonly topic: string;
  readonly inbox: boolean;
  /** Positions in the call. */
  readonly positions: number[];
}

/** Publishes over connections of its own, one call at a time, and sends nothing twice. */
export class Publisher {
  readonly #cluster: Cluster;
  readonly #wiring: PublisherWiring;
  readonly #sender: Sender;
  /** Settles when all calls before have. */
  #before: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(cluster: Cluster, behaviour: Behaviour, wiring: PublisherWiring) {
    this.#cluster = cluster;
    this.#wiring = wiring;
    this.#sender = new Sender(cluster, behaviour.compression);
  }

  /** See `Driver.publish`: never rejects, one result per record. A call waits for those before it. */
  publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const before = this.#before;
    const results = this.#publish(batch, signal, before);
    this.#before = before.then(() => results);
    return results;
  }

  async #publish(batch: readonly WireRecord[], signal: AbortSignal, before: Promise<unknown>): Promise<readonly PublishResult[]> {
    const call: Call = { batch, results: new Array(batch.length), now: this.#cluster.clock.now(), signal };
    try {
      await until(signal, before);
      if (this.#closed || this.#cluster.closed) throw unavailable("The connection to the cluster is closed.");
      await this.#sender.send(call, await this.#loads(call));
    } catch (raw) {
      const error = readable(raw);
      for (let n = 0; n < batch.length; n++) call.results[n] ??= { ok: false, sent: "no", error };
    }
    return call.results;
  }

  /** What is under way ends in doubt. */
  close(): void {
    this.#closed = true;
    this.#sender.close();
  }

  /** What goes to topics that are there. The other records get a result that says so. */
  async #loads(call: Call): Promise<readonly Load[]> {
    const routes = routesOf(call.batch);
    const names = routes.map(({ name }) => name);
    // One request for all; what spoils it, such as a topic that may not be looked at, is found out below and spoils only its own records.
    if (names.length > 1) await this.#cluster.topics(names, call.signal).catch(() => {});
    const loads = routes.map(async (route): Promise<Load[]> => {
      const { positions, inbox } = route;
      try {
        return [{ topic: await this.#state(route, call.signal), inbox, limit: this.#wiring.limitOf(route.topic), positions }];
      } catch (raw) {
        const error = readable(raw);
        for (const position of positions) call.results[position] = { ok: false, sent: "no", error };
        return [];
      }
    });
    return (await Promise.all(loads)).flat();
  }

  async #state({ name, topic, inbox }: Route, signal: AbortSignal): Promise<TopicState> {
    const state = await this.#known(name, signal);
    if (state !== undefined) return state;
    const origin = inbox ? await this.#known(topic, signal) : undefined;
    if (origin === undefined) throw topicMissing(topic);
    const made = await createInbox(this.#cluster, origin, name, signal);
    for (const reader of this.#cluster.readers) if (reader.topic === topic) reader.refresh();
    return made;
  }

  /** A topic that seems to be missing may just have been created. */
  async #known(name: string, signal: AbortSignal): Promise<TopicState | undefined> {
    const cached = (await this.#cluster.topics([name], signal)).get(name);
    return cached ?? (await this.#cluster.topics([name], signal, 0)).get(name);
  }
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
