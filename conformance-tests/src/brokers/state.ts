import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { isAlive } from "../faults/identity.ts";
import { withLock } from "./cache.ts";

/** A broker that was started and left running. */
export interface Left {
  readonly name: string;
  readonly variable: string;
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly version: string;
  /** Number and start time of the process, which is also the number of its group. */
  readonly process: string;
  /** Folder of its data, configuration and log. */
  readonly folder: string;
}

/** The brokers that were left running, one file each in the cache folder. */
export class LeftBrokers {
  readonly #folder: string;

  constructor(cache: string) {
    this.#folder = join(cache, "brokers");
  }

  /** Folder that a broker's data may be in. */
  folderOf(name: string): string {
    return join(this.#folder, name);
  }

  /** Runs `work` while no other process starts or stops this broker. */
  async exclusively<T>(name: string, work: () => Promise<T>): Promise<T> {
    await mkdir(this.#folder, { recursive: true });
    return withLock(join(this.#folder, `${name}.lock`), 120_000, work);
  }

  async names(): Promise<readonly string[]> {
    const files = await readdir(this.#folder).catch(() => []);
    return files
      .filter((file) => file.endsWith(".json"))
      .map((file) => file.slice(0, -".json".length))
      .sort();
  }

  /** What was written about a broker, whether or not it still runs. */
  async recorded(name: string): Promise<Left | undefined> {
    const text = await readFile(join(this.#folder, `${name}.json`), "utf8").catch(() => undefined);
    return text === undefined ? undefined : (JSON.parse(text) as Left);
  }

  /** The broker, if that very process still runs. */
  async running(name: string): Promise<Left | undefined> {
    const left = await this.recorded(name);
    return left !== undefined && isAlive(left.process) ? left : undefined;
  }

  async record(left: Left): Promise<void> {
    const path = join(this.#folder, `${left.name}.json`);
    await writeFile(`${path}.new`, `${JSON.stringify(left, null, 2)}\n`);
    await rename(`${path}.new`, path);
  }

  async forget(name: string): Promise<void> {
    await rm(join(this.#folder, `${name}.json`), { force: true });
    await rm(this.folderOf(name), { recursive: true, force: true, maxRetries: 3 });
  }
}
