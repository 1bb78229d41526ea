import { BrokerHandle } from "../broker.ts";
import { BROKER_OPTIONS, checkOptions } from "../checks.ts";
import { sourceOfUrl } from "../connect.ts";
import type { TopicDefinition } from "../definition.ts";
import type { WireRecord } from "../driver/wire.ts";
import { BrokerError, invalidArgument } from "../errors.ts";
import type { Message } from "../message.ts";
import { checkKeys, type Feature, type Options } from "../options.ts";
import type { Out, Schema } from "../schema.ts";
import type { Broker } from "../surface.ts";
import { parseUrl } from "../url.ts";
import { checkDefined } from "./decode.ts";
import { publishedMessage } from "./published.ts";
import { VirtualClock } from "./virtual-clock.ts";

/** How long `idle` waits in real time for a handler that does not come to an end by itself. */
const PATIENCE_MS = 10_000;
/** Looks in a row that must find nothing to do: a message may be on its way between two counters. */
const QUIET_LOOKS = 3;
const wait = setTimeout;

/** A broker under a clock of its own: time passes only by `advance`. */
export interface TestBroker extends Broker<Feature> {
  /**
   * Resolves when no publish, handler or settlement is under way and nothing can be delivered at this point of virtual time.
   * What waits for time to pass (a retry, a delay) does not count. Rejects `TIMEOUT` when a handler is at work for 10 s of real time.
   */
  idle(): Promise<void>;
  /** Lets `ms` of virtual time pass; timers fire in order, and what they set going settles. */
  advance(ms: number): Promise<void>;
  /** What this broker has published to the topic so far, as a handler would get it. Throws as `testMessage` does. */
  published<S extends Schema>(topic: TopicDefinition<S>): readonly Message<Out<S>>[];
}

/** A `like` beside the options of `createBroker`. */
export interface TestBrokerOptions extends Options {
  /** The name of an adapter whose capabilities the broker shall have, limits included; default: all that there are. */
  like?: string | undefined;
}

/** A broker in memory for unit tests: synchronous to make, connects on first use, needs nothing installed. */
export function testBroker(o: TestBrokerOptions = {}): TestBroker {
  checkKeys("testBroker", o, ["like", ...BROKER_OPTIONS]);
  const { like, ...options } = o;
  checkOptions("testBroker", options);
  if (like !== undefined && (typeof like !== "string" || like === "")) throw invalidArgument("like", "like must be an adapter's name.");
  return new VirtualBroker(like, options, new VirtualClock());
}

class VirtualBroker extends BrokerHandle implements TestBroker {
  readonly #clock: VirtualClock;
  readonly #published = new Map<string, WireRecord[]>();

  constructor(like: string | undefined, options: Options, clock: VirtualClock) {
    const url = like === undefined ? "memory:" : `memory:?like=${encodeURIComponent(like)}`;
    super({ ...sourceOfUrl(parseUrl(url), options.adapters ?? []), clock }, options, []);
    this.#clock = clock;
    this.tap((topic, record) => {
      const records = this.#published.get(topic);
      if (records === undefined) this.#published.set(topic, [record]);
      else records.push(record);
    });
  }

  async idle(): Promise<void> {
    const giveUp = performance.now() + PATIENCE_MS;
    for (let quiet = 0; quiet < QUIET_LOOKS; ) {
      await this.#clock.advance(0);
      quiet = this.activity() === 0 ? quiet + 1 : 0;
      if (quiet > 0) continue;
      if (performance.now() > giveUp) throw this.#busy();
      await new Promise<void>((resolve) => wait(resolve, 1));
    }
  }

  advance(ms: number): Promise<void> {
    return this.#clock.advance(ms);
  }

  published<S extends Schema>(topic: TopicDefinition<S>): readonly Message<Out<S>>[] {
    checkDefined("published", topic);
    return (this.#published.get(topic.name) ?? []).map((record) => publishedMessage(topic, record));
  }

  #busy(): Error {
    const text = `idle: something is still at work after ${PATIENCE_MS} ms: a handler that has not returned, or one that waits for advance().`;
    return new BrokerError("TIMEOUT", text, { details: undefined });
  }
}
