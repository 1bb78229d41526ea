import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type RunningBroker, startBroker } from "./brokers/index.ts";
import type { Harness, Site } from "./harness.ts";

/** A site of one case's own, with a private process where the backend has one: it may be killed. */
export interface OwnSite extends Site {
  /** Ends the use of it. A server that still serves is lent to the next case that needs one: starting some takes longer than most cases. */
  release(): Promise<void>;
}

const LOOK_MS = 5_000;

/** Counts the sites of this process. */
let count = 0;

/** Hands out places to test at: the shared server for what harms nobody, private ones for faults, a store per case for embedded backends. */
export class Sites {
  readonly #harness: Harness;
  readonly #folders: string[] = [];
  /** Private servers that no case uses. */
  readonly #idle: RunningBroker[] = [];
  #shared: Promise<Site> | undefined;

  constructor(harness: Harness) {
    this.#harness = harness;
  }

  /** Non-destructive. Cases share a server, by topics of their own; an embedded backend gives each its own store. */
  async usual(): Promise<Site> {
    const recipe = this.#harness.broker;
    if (recipe === undefined) return await this.#site(undefined);
    this.#shared ??= startBroker(recipe).then((broker) => this.#site(broker));
    return await this.#shared;
  }

  async own(): Promise<OwnSite> {
    const recipe = this.#harness.broker;
    const broker = recipe === undefined ? undefined : (this.#idle.pop() ?? (await startBroker(recipe, { destructive: true })));
    return { ...(await this.#site(broker)), release: async () => void (broker !== undefined && (await this.#takeBack(broker))) };
  }

  /** A case may leave its server killed or stopped. */
  async #takeBack(broker: RunningBroker): Promise<void> {
    const { host, port, url } = broker;
    const serves = this.#harness.broker?.ready({ host, port, url, options: {} }, AbortSignal.timeout(LOOK_MS)).then(
      () => true,
      () => false,
    );
    if ((await serves) === true) this.#idle.push(broker);
    else await broker.close();
  }

  /** Ends the private servers that no case uses: one that ran out of time may still do something to what it had. */
  async discard(): Promise<void> {
    await Promise.all(this.#idle.splice(0).map((broker) => broker.close()));
  }

  async close(): Promise<void> {
    await this.discard();
    await (await this.#shared?.catch(() => undefined))?.broker?.close();
    await Promise.all(this.#folders.map((folder) => rm(folder, { recursive: true, force: true })));
  }

  async #site(broker: RunningBroker | undefined): Promise<Site> {
    const folder = await mkdtemp(join(tmpdir(), "brokerkit-site-"));
    this.#folders.push(folder);
    count += 1;
    return { name: `site-${process.pid}-${count}`, host: broker?.host ?? "", port: broker?.port ?? 0, broker, folder };
  }
}
