import { randomBytes } from "node:crypto";
import type { PublishResult, WireRecord } from "brokerkit/driver";
import { NOTHING, tooLarge } from "../client.ts";
import { unavailable } from "../errors.ts";
import { encodeHeaders } from "../mapping.ts";
import type { Connection } from "../protocol/connection.ts";
import { subjectOf } from "./mapping.ts";

/** How many subjects are numbered at once; a subject that comes back begins anew, which readers take for another publisher. */
const MOST_COUNTERS = 10_000;

const TAKEN: PublishResult = Object.freeze({ ok: true });

interface Counter {
  readonly subject: string;
  readonly epoch: string;
  count: number;
}

/** Publishes over one connection. Messages of one subject are numbered, so that readers can count what they miss. */
export class Publisher {
  readonly #connection: Connection;
  readonly #prefix: string;
  /** By topic. */
  readonly #counters = new Map<string, Counter>();
  /** Subjects that the server has forbidden, with its word, for the calls under way. */
  readonly #forbidden = new Map<string, Error>();
  #calls = 0;

  constructor(connection: Connection, prefix: string) {
    this.#connection = connection;
    this.#prefix = prefix;
    connection.onDenied((subject, subscribing, error) => {
      if (subscribing) return;
      this.#forbidden.set(subject, error);
      for (const [topic, counter] of this.#counters) if (counter.subject === subject) this.#counters.delete(topic);
    });
  }

  /** One round trip for all: what the server refuses it says before its answer. Who has received anything nobody can say. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal, abort: (error: Error) => void): Promise<readonly PublishResult[]> {
    const onAbort = (): void => abort(unavailable("The publish was aborted while the server had not answered.", signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    this.#calls++;
    const results: PublishResult[] = new Array(batch.length);
    const subjects: string[] = [];
    const { maxPayload } = this.#connection.info;
    for (let index = 0; index < batch.length; index++) {
      const record = batch[index] as WireRecord;
      const counter = this.#counter(record.target.topic);
      const { subject } = counter;
      const headers = encodeHeaders(record, false, `${counter.epoch} ${counter.count + 1}`);
      const body = record.body ?? NOTHING;
      subjects[index] = subject;
      if (headers.length + body.length > maxPayload) {
        results[index] = tooLarge(headers.length + body.length, maxPayload);
        continue;
      }
      counter.count++;
      this.#connection.publish(subject, "", headers, body);
    }
    const failure = await this.#connection.flush().catch((error: unknown) => ({ error }));
    for (let index = 0; index < batch.length; index++) {
      const forbidden = this.#forbidden.size === 0 ? undefined : this.#forbidden.get(subjects[index] as string);
      if (failure !== undefined) results[index] ??= { ok: false, error: failure.error, sent: "maybe" };
      else results[index] ??= forbidden === undefined ? TAKEN : { ok: false, error: forbidden, sent: "no" };
    }
    if (--this.#calls === 0) this.#forbidden.clear();
    signal.removeEventListener("abort", onAbort);
    return results;
  }

  #counter(topic: string): Counter {
    const known = this.#counters.get(topic);
    if (known !== undefined) return known;
    if (this.#counters.size >= MOST_COUNTERS) this.#counters.clear();
    const counter = { subject: subjectOf(this.#prefix, topic), epoch: randomBytes(9).toString("base64url"), count: 0 };
    this.#counters.set(topic, counter);
    return counter;
  }
}
