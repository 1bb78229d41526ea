import type { EffectiveCapabilities } from "./capabilities.ts";
import { effectiveCapabilities } from "./capability/effective.ts";
import { FEATURE_NAMES } from "./capability/features.ts";
import { common } from "./capability/narrow.ts";
import type { TopicDefinition } from "./definition.ts";
import type { Capabilities, Features } from "./driver/capabilities.ts";
import { invalidArgument } from "./errors.ts";
import { checkTopicName, type Feature } from "./options.ts";
import type { Schema } from "./schema.ts";
import type { Broker, Health, ProvisionResult, Topic } from "./surface.ts";

/** A topic's name, or the beginning of names followed by `*`. */
const PATTERN = /^(?:[A-Za-z0-9][A-Za-z0-9._-]*)?\*$|^[A-Za-z0-9][A-Za-z0-9._-]*$/;

/**
 * One broker made of several: each topic belongs to the broker whose pattern fits its name best. An exact name comes first, then the
 * longest beginning (`"presence.*"`); what fits none belongs to `fallback`. Features and capabilities are what all of them have.
 * The handles given are owned from then on: `close` closes them all. Throws `INVALID_ARGUMENT` for patterns with `*` elsewhere.
 */
export function routed<F extends Feature>(routes: Readonly<Record<string, Broker<F>>>, fallback: Broker<F>): Broker<F> {
  const broker: Broker = new RoutedBroker(routes as Readonly<Record<string, Broker>>, fallback as Broker);
  return broker;
}

interface Route {
  /** What a name begins with, or is. */
  readonly text: string;
  readonly exact: boolean;
  readonly broker: Broker;
}

class RoutedBroker implements Broker {
  readonly #routes: readonly Route[];
  readonly #fallback: Broker;
  readonly #brokers: readonly Broker[];

  constructor(routes: Readonly<Record<string, Broker>>, fallback: Broker) {
    if (typeof routes !== "object" || routes === null) {
      throw invalidArgument("routes", 'routed takes an object of brokers by pattern, such as { "presence.*": live }, then the fallback.');
    }
    // Exact names first, then the longest beginning: the first that fits is the best.
    this.#routes = Object.entries(routes)
      .map(([pattern, broker]) => toRoute(pattern, broker))
      .sort((a, b) => Number(b.exact) - Number(a.exact) || b.text.length - a.text.length);
    this.#fallback = checkBroker("fallback", fallback);
    this.#brokers = [...new Set([...this.#routes.map((route) => route.broker), fallback])];
  }

  get features(): Features {
    const all = this.#brokers.map((broker) => broker.features);
    return Object.freeze(Object.fromEntries(FEATURE_NAMES.map((name) => [name, all.every((one) => one[name])])) as unknown as Features);
  }

  get capabilities(): EffectiveCapabilities {
    return effectiveCapabilities(
      this.#brokers.map((broker) => broker.capabilities).reduce<Capabilities>(common, this.#fallback.capabilities),
    );
  }

  topic<S extends Schema>(definition: TopicDefinition<S>): Topic<S>;
  topic(name: string): Topic<Schema<unknown, unknown>>;
  topic(topic: string | TopicDefinition): Topic {
    const name: unknown = typeof topic === "string" ? topic : topic?.name;
    // The broker it belongs to checks the rest; without a name there is none to ask.
    if (typeof name !== "string") checkTopicName(name);
    return this.#pick(name as string).topic(topic as TopicDefinition);
  }

  supports<const G extends Feature>(...features: readonly G[]): this is Broker<Feature | G> {
    return this.#brokers.every((broker) => broker.supports(...features));
  }

  async provision(topics: readonly TopicDefinition[], o?: { dryRun?: boolean | undefined }): Promise<readonly ProvisionResult[]> {
    if (!Array.isArray(topics)) throw invalidArgument("topics", "provision takes an array of topics made by defineTopic.");
    for (const topic of topics) checkTopicName(topic?.name);
    const results = await Promise.all(
      this.#brokers.map((broker) => {
        const own = topics.filter((topic) => this.#pick(topic.name) === broker);
        return own.length === 0 ? [] : broker.provision(own, o);
      }),
    );
    const place = (result: ProvisionResult): number => topics.findIndex((topic) => topic.name === result.topic);
    return results.flat().sort((a, b) => place(a) - place(b));
  }

  health(): Health {
    const all = this.#brokers.map((broker) => broker.health());
    const worst = (["closed", "reconnecting"] as const).find((state) => all.some((one) => one.connection === state));
    return {
      ready: all.every((one) => one.ready),
      live: all.every((one) => one.live),
      connection: worst ?? "connected",
      subscriptions: all.flatMap((one) => one.subscriptions),
    };
  }

  async ping(o?: { signal?: AbortSignal | undefined }): Promise<number> {
    return Math.max(...(await Promise.all(this.#brokers.map((broker) => broker.ping(o)))));
  }

  async connect(): Promise<this> {
    await Promise.all(this.#brokers.map((broker) => broker.connect()));
    return this;
  }

  async close(o?: { deadlineMs?: number | undefined }): Promise<void> {
    // All are closed before the first failure is told.
    const results = await Promise.allSettled(this.#brokers.map((broker) => broker.close(o)));
    for (const result of results) if (result.status === "rejected") throw result.reason;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #pick(name: string): Broker {
    return this.#routes.find((route) => (route.exact ? name === route.text : name.startsWith(route.text)))?.broker ?? this.#fallback;
  }
}

function toRoute(pattern: string, broker: Broker): Route {
  if (!PATTERN.test(pattern)) {
    throw invalidArgument(
      "routes",
      `routed: "${pattern.slice(0, 80)}" is no pattern: write a topic's name, or its beginning and one "*" at the end.`,
    );
  }
  if (pattern === "*")
    throw invalidArgument("routes", 'routed: "*" would leave nothing for the fallback; give that broker as the fallback.');
  checkBroker(`"${pattern}"`, broker);
  return pattern.endsWith("*") ? { text: pattern.slice(0, -1), exact: false, broker } : { text: pattern, exact: true, broker };
}

function checkBroker(where: string, broker: Broker): Broker {
  if (typeof broker?.topic === "function" && typeof broker.close === "function") return broker;
  throw invalidArgument("routes", `routed: ${where} must be a broker, from connect() or createBroker().`);
}
