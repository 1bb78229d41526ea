import type { RunningBroker } from "./brokers/index.ts";
import type { Site } from "./harness.ts";

/** A server for several provocations: those that run side by side share one, since each takes seconds of all cores to start. */
export class Shared<T extends { readonly broker: RunningBroker }> {
  readonly #start: (site: Site) => Promise<T>;
  #server: Promise<T> | undefined;
  #users = 0;

  constructor(start: (site: Site) => Promise<T>) {
    this.#start = start;
  }

  async take(site: Site): Promise<T> {
    this.#users += 1;
    this.#server ??= this.#start(site);
    try {
      return await this.#server;
    } catch (error) {
      await this.release().catch(() => {});
      throw error;
    }
  }

  /** The last one who lets go ends it. */
  async release(): Promise<void> {
    this.#users -= 1;
    if (this.#users > 0) return;
    const server = this.#server;
    this.#server = undefined;
    await (await server)?.broker.close();
  }
}
