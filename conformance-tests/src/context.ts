import { randomBytes } from "node:crypto";
import { unsubscribe as offChannel, subscribe as onChannel } from "node:diagnostics_channel";
import {
  type Broker,
  connect,
  createBroker,
  type EffectiveCapabilities,
  type Feature,
  type Options,
  type Receipt,
  type SubscribeOptions,
} from "brokerkit";
import type { Adapter, Capabilities, Driver } from "brokerkit/driver";
import { fail } from "./assert.ts";
import { systemClock } from "./clock.ts";
import type { AdapterHarness, Provoke, Site } from "./harness.ts";
import { type Recorded, recording, type Tap } from "./recording.ts";
import type { AnyTopic } from "./sink.ts";
import type { OwnSite } from "./sites.ts";
import { within } from "./wait.ts";

export interface ConnectOptions extends Options {
  /** Another place than the case's own site. */
  readonly site?: Site | undefined;
  readonly tap?: Tap | undefined;
  readonly adapter?: Adapter | undefined;
  readonly requires?: readonly Feature[] | undefined;
}

export interface RecordedBroker {
  readonly broker: Broker;
  readonly wire: Recorded;
}

export interface OpenDriver {
  readonly driver: Driver;
  readonly capabilities: Capabilities;
}

/** What the suite saw on the diagnostics channel while a case ran. */
export type SeenEvent = { readonly type: string; readonly topic?: string | undefined; readonly [name: string]: unknown };

export interface ContextParts {
  readonly harness: AdapterHarness;
  readonly site: Site;
  readonly capabilities: EffectiveCapabilities;
  readonly random: () => number;
  /** Applied last, so that a mutant sits between core and everything else. */
  readonly mutate?: ((adapter: Adapter) => Adapter) | undefined;
  readonly own: () => Promise<OwnSite>;
  readonly measure: (name: string, value: number | string) => void;
  readonly patienceMs: number;
}

/** What one case works with. Everything it opens is closed when it ends. */
export class Context {
  readonly harness: AdapterHarness;
  readonly site: Site;
  readonly capabilities: EffectiveCapabilities;
  readonly random: () => number;
  readonly provoke: Provoke;
  readonly #parts: ContextParts;
  readonly #undo: (() => Promise<void>)[] = [];
  readonly #owned: OwnSite[] = [];

  constructor(parts: ContextParts) {
    this.#parts = parts;
    this.harness = parts.harness;
    this.site = parts.site;
    this.capabilities = parts.capabilities;
    this.random = parts.random;
    this.provoke = parts.harness.provoke ?? {};
  }

  /** A measured guarantee for the report. */
  measure(name: string, value: number | string): void {
    this.#parts.measure(name, value);
  }

  /** Runs when the case ends, last first. */
  defer(run: () => unknown): void {
    this.#undo.push(async () => {
      await run();
    });
  }

  /** A topic name that nobody has used. */
  topic(seed = "t"): string {
    const name = this.harness.topic?.(seed);
    if (name !== undefined) return name;
    // Never seeded: a run repeated with its seed may meet the topics of the first one on a server that stays.
    return `${seed}-${randomBytes(6).toString("hex")}`;
  }

  adapter(site: Site = this.site): Adapter {
    return this.harness.adapter(site);
  }

  /** The site's URL; cases that need one say `needs: ["url"]`. */
  url(site: Site = this.site): string {
    return this.harness.url(site) ?? fail(`${this.harness.name}: this case needs a URL, and harness.url gives none.`);
  }

  /** A private server process of this case's own, to be killed, paused and restarted. */
  async own(): Promise<OwnSite> {
    const site = await this.#parts.own();
    this.#owned.push(site);
    this.defer(() => site.release());
    return site;
  }

  /** What the servers of this case's own wrote last; "" where there is none. */
  async serverLogs(): Promise<string> {
    const logs = await Promise.all(this.#owned.map(async ({ broker }) => (await broker?.log()) ?? ""));
    return logs.filter((log) => log !== "").join("\n");
  }

  async connect(o: ConnectOptions = {}): Promise<Broker> {
    return (await this.record(o)).broker;
  }

  /** A broker whose driver calls are on record. */
  async record(o: ConnectOptions = {}): Promise<RecordedBroker> {
    const { adapter, wire, options } = this.#prepare(o);
    const broker = await within(connect(adapter, options), 20_000, "connect");
    this.#track(broker);
    return { broker, wire };
  }

  lazy(o: ConnectOptions = {}): RecordedBroker {
    const { adapter, wire, options } = this.#prepare(o);
    const broker = createBroker(adapter, options);
    this.#track(broker);
    return { broker, wire };
  }

  /** By URL, through core's own search for adapters. */
  async connectUrl(url: string, requires: readonly Feature[] = []): Promise<Broker> {
    const broker = await within(connect(url, { requires }), 20_000, "connect by URL");
    this.#track(broker as Broker);
    return broker as Broker;
  }

  #prepare(o: ConnectOptions): { adapter: Adapter; wire: Recorded; options: Options & { requires?: readonly Feature[] | undefined } } {
    const { site, tap, adapter, ...options } = o;
    const wire = recording(adapter ?? this.adapter(site), tap);
    return { adapter: this.#parts.mutate?.(wire.adapter) ?? wire.adapter, wire, options };
  }

  #track(broker: Broker): void {
    this.defer(() => within(broker.close({ deadlineMs: 50 }), 15_000, "broker.close in the case's clean-up"));
  }

  /** A connected driver without core, for what the surface does not show: leases that run out, settling too late. */
  async driver(site: Site = this.site): Promise<OpenDriver> {
    const plain = this.adapter(site);
    const driver = (this.#parts.mutate?.(plain) ?? plain).open({ clock: systemClock, down: () => {} });
    this.defer(() => driver.close());
    const capabilities = await driver.connect(AbortSignal.timeout(10_000));
    return { driver, capabilities };
  }

  /** How to subscribe where it does not matter how: a group where there are groups, broadcast elsewhere. */
  way(group = "g"): SubscribeOptions {
    if (this.capabilities.delivery.group === "none") return { broadcast: true };
    return this.capabilities.supply.deadLetter === "none" ? { group, deadLetter: "drop" } : { group };
  }

  /** Background events of one topic, as they come. */
  events(topic: string): readonly SeenEvent[] {
    const seen: SeenEvent[] = [];
    const listen = (message: unknown): void => {
      const event = message as SeenEvent;
      if (event.topic === topic) seen.push(event);
    };
    onChannel("brokerkit.event", listen);
    this.defer(() => offChannel("brokerkit.event", listen));
    return seen;
  }

  /** What a topic is defined with so that its keys keep their order among members: nothing, where the backend sees to that by itself. */
  get shared(): { readonly partitions?: number } {
    return this.capabilities.coordination ? { partitions: 8 } : {};
  }

  /** How long a member may stand still before others take what it had: a lease, or a session, which harnesses make about as long. */
  get absenceMs(): number {
    const { lease, coordination } = this.capabilities;
    if (lease.ms > 0 && Number.isFinite(lease.ms)) return lease.ms;
    return coordination ? 10_000 : 1_500;
  }

  /** How long to wait for a redelivery that only an expired lease brings. */
  get patience(): number {
    const lease = this.capabilities.lease.ms;
    return this.#parts.patienceMs + (Number.isFinite(lease) ? 4 * lease : 0);
  }

  async cleanUp(): Promise<void> {
    const errors: unknown[] = [];
    for (const undo of this.#undo.reverse()) {
      try {
        await undo();
      } catch (error) {
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }
}

/** `prefix-0` … `prefix-<count − 1>`: payloads, and names to find them by. */
export function many(count: number, prefix = "m"): readonly string[] {
  return Array.from({ length: count }, (_, n) => `${prefix}-${n}`);
}

/** Where one record of a key travels at a time, hundreds of them are hundreds of round trips, and the machine may do much else. */
const PATIENT_MS = 45_000;

/** Publishes without waiting in between; resolves when all are confirmed. */
export async function publishMany(
  topic: AnyTopic,
  payloads: readonly unknown[],
  key?: (n: number) => string | undefined,
): Promise<readonly Receipt[]> {
  return await Promise.all(payloads.map((payload, n) => topic.publish(payload, { key: key?.(n), timeoutMs: PATIENT_MS })));
}
