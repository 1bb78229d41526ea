import type { Admin, Driver, TopicInfo, TopicSpec, WireLag } from "../../driver/driver.ts";
import type { Cut, WireStart } from "../../driver/wire.ts";
import { eachPart } from "./each.ts";
import { innerStart, outerCut, partName } from "./names.ts";
import type { Registry } from "./registry.ts";

/** Administration of topics with partitions: what is asked of one is asked of all its parts. Other topics are the backend's own. */
export class PartitionedAdmin implements Admin {
  readonly #driver: Driver;
  readonly #registry: Registry;

  constructor(driver: Driver, registry: Registry) {
    this.#driver = driver;
    this.#registry = registry;
  }

  async createTopic(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const { name, partitions } = spec;
    const before = await this.#registry.of(name, signal);
    if (before === 0 && partitions === undefined) return this.#createPlain(spec, signal);
    const count = before > 0 || partitions === undefined ? before : await this.#registry.claim(name, partitions, signal);
    if (count === 0) return "existing";
    // Whoever claimed the number may have ended before all parts were there.
    const outcomes = await eachPart(count, (part) =>
      this.#inner.createTopic({ ...spec, name: partName(name, part), partitions: undefined }, signal),
    );
    return outcomes.includes("created") ? "created" : "existing";
  }

  async #createPlain(spec: TopicSpec, signal: AbortSignal): Promise<"created" | "existing"> {
    const outcome = await this.#inner.createTopic(spec, signal);
    if ((await this.#registry.made(spec.name, signal)) === 0) return outcome;
    // Somebody gave it partitions meanwhile, and has not seen this one: nobody else has either.
    if (outcome === "created") await this.#inner.deleteTopic(spec.name, signal);
    return this.createTopic(spec, signal);
  }

  async describeTopic(topic: string, signal: AbortSignal): Promise<TopicInfo | undefined> {
    const count = await this.#registry.of(topic, signal);
    if (count === 0) {
      const info = await this.#inner.describeTopic(topic, signal);
      return info && { ...info, partitions: undefined };
    }
    const infos = await eachPart(count, (part) => this.#inner.describeTopic(partName(topic, part), signal));
    const [first, ...others] = infos;
    // With a part missing it is not there: creating it again completes it.
    if (first === undefined || others.includes(undefined)) return undefined;
    const groups = first.groups?.filter((group) => others.every((info) => info?.groups?.includes(group) ?? true));
    return { partitions: count, retention: first.retention, groups };
  }

  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    const count = await this.#registry.of(topic, signal);
    if (count === 0) {
      await this.#inner.deleteTopic(topic, signal);
      return this.#registry.forget(topic);
    }
    await eachPart(count, (part) => this.#inner.deleteTopic(partName(topic, part), signal));
    await this.#registry.release(topic, signal);
  }

  async createGroup(topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<"created" | "existing"> {
    const outcomes = await this.#all(topic, signal, (name, part) =>
      this.#inner.createGroup(name, group, startAt(from, part), signal, part !== undefined),
    );
    return outcomes.includes("created") ? "created" : "existing";
  }

  async deleteGroup(topic: string, group: string, signal: AbortSignal): Promise<void> {
    await this.#all(topic, signal, (name) => this.#inner.deleteGroup(name, group, signal));
  }

  async position(topic: string, group: string | undefined, signal: AbortSignal): Promise<Cut> {
    const count = await this.#registry.of(topic, signal);
    if (count === 0) return this.#inner.position(topic, group, signal);
    return outerCut(await eachPart(count, (part) => this.#inner.position(partName(topic, part), group, signal)));
  }

  async seek(topic: string, group: string, to: WireStart, signal: AbortSignal): Promise<void> {
    await this.#all(topic, signal, (name, part) => this.#inner.seek(name, group, startAt(to, part), signal));
  }

  async lag(topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
    const lags = await this.#all(topic, signal, (name) => this.#inner.lag(name, group, signal));
    return {
      count: combined(lags, "count", (a, b) => a + b),
      inFlight: combined(lags, "inFlight", (a, b) => a + b),
      oldestMs: combined(lags, "oldestMs", Math.max),
    };
  }

  get #inner(): Admin {
    return this.#driver.admin;
  }

  /** `part` is `undefined` where the topic has none. */
  async #all<T>(topic: string, signal: AbortSignal, work: (name: string, part: number | undefined) => Promise<T>): Promise<T[]> {
    const count = await this.#registry.of(topic, signal);
    if (count === 0) return [await work(topic, undefined)];
    return eachPart(count, (part) => work(partName(topic, part), part));
  }
}

function startAt(start: WireStart, part: number | undefined): WireStart {
  return part === undefined ? start : innerStart(start, part);
}

/** What one cannot say, the whole cannot say. */
function combined(lags: readonly WireLag[], field: keyof WireLag, add: (a: number, b: number) => number): number | undefined {
  return lags.map((lag) => lag[field]).reduce((a, b) => (a === undefined || b === undefined ? undefined : add(a, b)));
}
