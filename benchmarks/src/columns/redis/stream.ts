import type { Account } from "../../measure/account.ts";
import type { Consumer, Session } from "../../measure/column.ts";
import { indexOf, type Messages } from "../../measure/messages.ts";
import { windowed } from "../../measure/window.ts";
import type { Workload } from "../../measure/workload.ts";

export const GROUP = "bench";
const COUNT = 500;
const BLOCK_MS = 1_000;

/** An entry of a stream: its id, and names and values. */
export type Entry = readonly [id: Buffer, fields: readonly Buffer[]];

/** What a stream's columns need of a client. */
export interface StreamClient {
  /** XADDs these messages in one pipeline, or in whatever way the column is about. */
  add(stream: string, messages: Messages, first: number, count: number): Promise<void>;
  command(args: readonly (string | Buffer)[]): Promise<unknown>;
  /** A command on a connection of its own, which may block. */
  read(args: readonly string[]): Promise<unknown>;
  /** Ends what `read` waits for. */
  endReading(): void;
  close(): void;
}

/** How a column goes about it. */
export interface StreamStyle {
  /** Messages in one `add`; undefined for the workload's batch. */
  readonly step?: number | undefined;
  /** `add`s under way; undefined for as many as the workload allows. */
  readonly window?: number | undefined;
  /** Acknowledges, and waits for, each message by itself. */
  readonly ackEach?: boolean | undefined;
}

/** The entries of an answer to XREADGROUP over one stream; none after a time-out. Protocol 3 answers with a map, which clients make flat. */
function entriesOf(answer: unknown): readonly Entry[] {
  if (answer === null) return [];
  const [first, second] = answer as readonly unknown[];
  return (Buffer.isBuffer(first) ? second : (first as readonly unknown[])[1]) as readonly Entry[];
}

/** A group of a stream by a plain client. */
export class StreamSession implements Session {
  readonly #client: StreamClient;
  readonly #workload: Workload;
  readonly #style: StreamStyle;
  #stream = "";

  constructor(client: StreamClient, workload: Workload, style: StreamStyle) {
    this.#client = client;
    this.#workload = workload;
    this.#style = style;
  }

  attach(topic: string): void {
    this.#stream = topic;
  }

  async create(): Promise<void> {
    if (this.#workload.topics === 1) await this.#client.command(["XGROUP", "CREATE", this.#stream, GROUP, "$", "MKSTREAM"]);
  }

  publish(messages: Messages, first: number, count: number): Promise<void> {
    const { inFlight, batch, topics } = this.#workload;
    const step = topics > 1 ? 1 : Math.min(this.#style.step ?? batch, inFlight);
    const window = this.#style.window ?? Math.max(1, Math.floor(inFlight / step));
    return windowed(first, count, window, step, (index, size) => this.#client.add(this.#streamOf(index), messages, index, size));
  }

  send(messages: Messages, first: number, count: number): Promise<void> {
    return this.#client.add(this.#stream, messages, first, count);
  }

  #streamOf(index: number): string {
    const { topics } = this.#workload;
    return topics === 1 ? this.#stream : `${this.#stream}-${index % topics}`;
  }

  async consume(account: Account): Promise<Consumer> {
    const args = ["XREADGROUP", "GROUP", GROUP, "member", "COUNT", String(COUNT), "BLOCK", String(BLOCK_MS), "STREAMS", this.#stream, ">"];
    const stream = this.#stream;
    const acks = new Set<Promise<unknown>>();
    let open = true;
    const ack = (ids: readonly Buffer[]): Promise<unknown> => {
      const sent = this.#client.command(["XACK", stream, GROUP, ...ids]).catch((error: unknown) => {
        account.fail(error);
      });
      acks.add(sent);
      return sent.finally(() => acks.delete(sent));
    };
    const loop = (async () => {
      while (open) {
        const entries = entriesOf(await this.#client.read(args));
        const ids: Buffer[] = [];
        for (const [id, fields] of entries) {
          account.take(indexOf(fields[1] as Buffer));
          if (this.#style.ackEach === true) await ack([id]);
          else ids.push(id);
        }
        if (entries.length === 0) continue;
        await account.rest(entries.length, 1);
        // Not waited for: the next read is on another connection.
        if (ids.length > 0) void ack(ids);
      }
    })().catch((error: unknown) => {
      if (open) account.fail(error);
    });
    return {
      flush: async () => {
        await Promise.all([...acks]);
        await account.complete;
      },
      close: async () => {
        open = false;
        this.#client.endReading();
        await loop;
        await Promise.all([...acks]);
      },
    };
  }

  async remove(): Promise<void> {
    const { topics } = this.#workload;
    for (let n = 0; n < topics; n++) await this.#client.command(["DEL", this.#streamOf(n)]);
  }

  async close(): Promise<void> {
    this.#client.close();
  }
}
