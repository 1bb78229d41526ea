import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import { bounded, NOTHING, tooLarge } from "../client.ts";
import { groupMissing, topicMissing, unavailable } from "../errors.ts";
import { encodeHeaders } from "../mapping.ts";
import type { Connection } from "../protocol/connection.ts";
import type { Session } from "./client.ts";
import { MAIN, placeOf, RETRY, type StreamNames } from "./mapping.ts";
import { type Answer, type Outgoing, PublishWindow } from "./protocol/window.ts";

/** How long to ask why nobody listens: a stream whose servers choose a leader says nothing. */
const EXPLAIN_MS = 800;

/** Publishes over one connection. */
export class Publisher {
  readonly #connection: Connection;
  readonly #session: Session;
  readonly #window: PublishWindow;

  constructor(connection: Connection, session: Session) {
    this.#connection = connection;
    this.#session = session;
    this.#window = new PublishWindow(connection, session.clock);
  }

  /** Settles when every answer is there, or the connection is gone; `abort` is to see to that when the caller gives up. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal, abort: (error: Error) => void): Promise<readonly PublishResult[]> {
    const onAbort = (): void => abort(unavailable("The publish was aborted while the server had not answered.", signal.reason));
    signal.addEventListener("abort", onAbort, { once: true });
    const { maxPayload } = this.#connection.info;
    const dedupe = this.#session.settings.dedupeMs > 0;
    const results: PublishResult[] = new Array(batch.length);
    const sent: Outgoing[] = [];
    const indexes: number[] = [];
    for (let index = 0; index < batch.length; index++) {
      const record = batch[index] as WireRecord;
      const headers = encodeHeaders(record, dedupe);
      const body = record.body ?? NOTHING;
      const size = headers.length + body.length;
      if (size > maxPayload) results[index] = tooLarge(size, maxPayload);
      else indexes[sent.push({ subject: this.#names(record).subject, headers, body }) - 1] = index;
    }
    const answers = await this.#window.send(sent);
    const streams = new Map<string, Promise<boolean>>();
    for (let n = 0; n < indexes.length; n++) {
      const index = indexes[n] as number;
      const result = this.#resultOf(batch[index] as WireRecord, answers[n] as Answer, streams);
      results[index] = result instanceof Promise ? await result : result;
    }
    signal.removeEventListener("abort", onAbort);
    return results;
  }

  fail(error: Error): void {
    this.#window.fail(error);
  }

  #names({ target: { topic, group } }: WireRecord): StreamNames {
    return group === undefined ? this.#session.names(topic) : this.#session.inbox(topic, group);
  }

  #resultOf(record: WireRecord, answer: Answer, streams: Map<string, Promise<boolean>>): PublishResult | Promise<PublishResult> {
    if ("error" in answer) {
      const { error, sent, unheard } = answer;
      return unheard === true ? this.#explain(record, error, streams) : { ok: false, error, sent };
    }
    const { stream } = this.#names(record);
    if (answer.stream !== stream) {
      const text = `The subject belongs to the stream "${answer.stream}", which has stored it, and not to "${stream}". Provision the topic, or name it differently.`;
      return { ok: false, error: driverError("NOT_FOUND", text), sent: "maybe" };
    }
    const place = placeOf(record.target.group === undefined ? MAIN : RETRY, answer.sequence);
    return answer.duplicate ? { ok: true, place, duplicate: true } : { ok: true, place };
  }

  /** Where nobody listens there is no stream, or the one there is has no server at the moment. */
  async #explain(record: WireRecord, error: unknown, streams: Map<string, Promise<boolean>>): Promise<PublishResult> {
    const { stream } = this.#names(record);
    const look = (late: AbortSignal): Promise<boolean> => this.#session.api.stream(stream, late).then((info) => info !== undefined);
    const asked = streams.get(stream) ?? bounded(this.#session.clock, EXPLAIN_MS, look);
    streams.set(stream, asked);
    const { topic, group } = record.target;
    const missing = group === undefined ? topicMissing(topic) : groupMissing(topic, group);
    const there = await asked.catch((failure: unknown) => failure);
    return { ok: false, error: there === true ? error : there === false ? missing : there, sent: "no" };
  }
}
