import { type Clock, driverError } from "brokerkit/driver";
import { isMissing, topicMissing } from "./errors.ts";
import { fullName, inboxOf } from "./mapping.ts";
import type { Settings } from "./options.ts";
import type { Rest } from "./protocol/rest.ts";
import { partitionName } from "./protocol/routing.ts";
import type { PulsarTransport } from "./transport.ts";

/** What a driver lends to its publisher, its readers and its admin. */
export class Session {
  readonly clock: Clock;
  readonly settings: Settings;
  /** Throws UNAVAILABLE before the first connection. */
  readonly transport: () => PulsarTransport;
  /** Everything open, to be closed with the driver. */
  readonly readers: Set<{ close(): Promise<void> }> = new Set();
  readonly #rest: Rest | undefined;

  constructor(wiring: Pick<Session, "clock" | "settings" | "transport"> & { readonly rest: Rest | undefined }) {
    this.clock = wiring.clock;
    this.settings = wiring.settings;
    this.transport = wiring.transport;
    this.#rest = wiring.rest;
  }

  /** Throws UNSUPPORTED where the adapter was told to do without. */
  get rest(): Rest {
    if (this.#rest !== undefined) return this.#rest;
    throw driverError("UNSUPPORTED", "This needs Pulsar's admin service, and adminUrl is false. Give its URL.");
  }

  get administered(): boolean {
    return this.#rest !== undefined;
  }

  full(topic: string): string {
    return fullName(this.settings.namespace, topic);
  }

  inbox(topic: string, group: string): string {
    return this.full(inboxOf(topic, group));
  }

  /** How many partitions a topic has; 0 for one that is not partitioned. Rejects NOT_FOUND. */
  async partitions(topic: string, signal: AbortSignal): Promise<number> {
    try {
      return await this.transport().partitions(this.full(topic), signal);
    } catch (error) {
      throw isMissing(error) ? topicMissing(topic) : error;
    }
  }

  /** The partitions of a topic by number, each as a topic of its own. */
  async parts(topic: string, signal: AbortSignal): Promise<readonly string[]> {
    const partitions = await this.partitions(topic, signal);
    return Array.from({ length: Math.max(1, partitions) }, (_, n) => partitionName(this.full(topic), n, partitions));
  }
}
