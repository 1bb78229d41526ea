import type { Account } from "../../measure/account.ts";
import type { Consumer, Session } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

export const GROUP = "bench";
/** Partitions of every topic here; `site.ts` makes it the server's default, so that brokerkit's topics have as many. */
export const PARTITIONS = 3;

/** What the columns of a log need of a client. */
export interface LogClient {
  create(topic: string): Promise<void>;
  /** Publishes these messages in one call. */
  add(topic: string, messages: Messages, first: number, count: number): Promise<void>;
  /** Reads a topic from its beginning as the only member of a group. Resolves when it reads. */
  read(
    topic: string,
    take: (body: Buffer) => void,
    rest: () => Promise<void> | undefined,
    fail: (error: unknown) => void,
  ): Promise<Consumer>;
  remove(topic: string): Promise<void>;
  close(): Promise<void>;
}

/** How a column goes about it. */
export interface LogStyle {
  /** Messages in one `add`; undefined for the workload's batch. */
  readonly step?: number | undefined;
  /** `add`s under way; undefined for as many as the workload allows. */
  readonly window?: number | undefined;
}

/** A topic of a log by a plain client. */
export class LogSession implements Session {
  readonly #client: LogClient;
  readonly #workload: Workload;
  readonly #style: LogStyle;
  readonly #made = new Set<string>();
  #topic = "";

  constructor(client: LogClient, workload: Workload, style: LogStyle) {
    this.#client = client;
    this.#workload = workload;
    this.#style = style;
  }

  attach(topic: string): void {
    this.#topic = topic;
  }

  #topicOf(index: number): string {
    const { topics } = this.#workload;
    return topics === 1 ? this.#topic : `${this.#topic}-${index % topics}`;
  }

  get #all(): string[] {
    const { topics } = this.#workload;
    return Array.from({ length: topics }, (_, n) => this.#topicOf(n));
  }

  async create(): Promise<void> {
    for (const topic of this.#all) await this.#make(topic);
  }

  async #make(topic: string): Promise<void> {
    await this.#client.create(topic);
    this.#made.add(topic);
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const { inFlight, batch, topics } = this.#workload;
    const step = topics > 1 ? 1 : Math.min(this.#style.step ?? batch, inFlight);
    const window = this.#style.window ?? Math.max(1, Math.floor(inFlight / step));
    return windowed(first, count, window, step, (index, size) => this.#client.add(this.#topicOf(index), messages, index, size));
  }

  async send(messages: Messages, first: number, count: number): Promise<void> {
    const topic = this.#topicOf(first);
    // A cold start has made none, and brokerkit makes its own too.
    if (!this.#made.has(topic)) await this.#make(topic);
    await this.#client.add(topic, messages, first, count);
  }

  consume(account: Account): Promise<Consumer> {
    return this.#client.read(
      this.#topic,
      (body) => account.take(indexOf(body)),
      () => account.rest(1, 1),
      (error) => account.fail(error),
    );
  }

  async remove(): Promise<void> {
    for (const topic of this.#all) {
      await this.#client.remove(topic);
      this.#made.delete(topic);
    }
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
