import type { WireStart } from "brokerkit/driver";
import { ApiError, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND, STREAM_EXISTS, STREAM_NOT_FOUND } from "../../errors.ts";
import type { Connection } from "../../protocol/connection.ts";

/** Nanoseconds in a millisecond: JetStream counts in them. */
export const NS = 1_000_000;

/** What of a stream the adapter looks at. Durations are nanoseconds. */
export interface StreamInfo {
  readonly config: {
    readonly subjects?: readonly string[] | undefined;
    readonly storage: string;
    readonly num_replicas: number;
    readonly max_age: number;
    readonly max_bytes: number;
    readonly duplicate_window: number;
    readonly no_ack?: boolean | undefined;
  };
  readonly state: { readonly messages: number; readonly first_seq: number; readonly last_seq: number };
}

/** What of a consumer the adapter looks at. */
export interface ConsumerInfo {
  readonly name: string;
  readonly config: {
    readonly deliver_policy: string;
    readonly opt_start_seq?: number | undefined;
    readonly ack_policy: string;
    readonly ack_wait?: number | undefined;
    readonly max_deliver?: number | undefined;
    readonly max_ack_pending?: number | undefined;
    readonly deliver_subject?: string | undefined;
    readonly filter_subject?: string | undefined;
    readonly filter_subjects?: readonly string[] | undefined;
    readonly headers_only?: boolean | undefined;
    readonly max_batch?: number | undefined;
    readonly max_expires?: number | undefined;
    readonly max_bytes?: number | undefined;
    readonly inactive_threshold?: number | undefined;
  };
  readonly delivered: { readonly consumer_seq: number; readonly stream_seq: number };
  readonly ack_floor: { readonly consumer_seq: number; readonly stream_seq: number };
  readonly num_ack_pending: number;
  readonly num_pending: number;
}

/** JetStream's requests: https://docs.nats.io/reference/reference-protocols/nats_api_reference */
export class JetStreamApi {
  readonly #prefix: string;
  readonly #connection: () => Connection;

  constructor(domain: string | undefined, connection: () => Connection) {
    this.#prefix = domain === undefined ? "$JS.API" : `$JS.${domain}.API`;
    this.#connection = connection;
  }

  #call<T>(call: string, body: unknown, signal: AbortSignal | undefined): Promise<T> {
    return this.#connection().api<T>(`${this.#prefix}.${call}`, body, signal);
  }

  /** Rejects where there is no JetStream. Needs a connection of its own while the usual one is not there yet. */
  async account(connection: Connection, signal: AbortSignal): Promise<void> {
    await connection.api(`${this.#prefix}.INFO`, undefined, signal);
  }

  /** The subject on which a consumer takes requests for messages. */
  pullSubject(stream: string, consumer: string): string {
    return `${this.#prefix}.CONSUMER.MSG.NEXT.${stream}.${consumer}`;
  }

  /** `undefined`: there is none. */
  stream(name: string, signal?: AbortSignal): Promise<StreamInfo | undefined> {
    return found(this.#call<StreamInfo>(`STREAM.INFO.${name}`, undefined, signal));
  }

  /** Names of streams that keep a subject, which may have wildcards. */
  async streamsOf(subject: string, signal?: AbortSignal): Promise<readonly string[]> {
    return (await this.#call<{ streams: readonly string[] | null }>("STREAM.NAMES", { subject }, signal)).streams ?? [];
  }

  /** "existing" where there is one of that name with other settings. */
  async createStream(
    config: { readonly name: string } & Readonly<Record<string, unknown>>,
    signal?: AbortSignal,
  ): Promise<"created" | "existing"> {
    try {
      await this.#call(`STREAM.CREATE.${config.name}`, config, signal);
      return "created";
    } catch (error) {
      if (error instanceof ApiError && error.number === STREAM_EXISTS) return "existing";
      throw error;
    }
  }

  async deleteStream(name: string, signal?: AbortSignal): Promise<void> {
    await found(this.#call(`STREAM.DELETE.${name}`, undefined, signal));
  }

  /** When the first message from a sequence on was stored, epoch ms; `undefined`: there is none. */
  async storedAt(stream: string, subject: string, sequence: number, signal?: AbortSignal): Promise<number | undefined> {
    const request = { seq: sequence, next_by_subj: subject };
    const answer = await found(this.#call<{ message: { time: string } }>(`STREAM.MSG.GET.${stream}`, request, signal));
    return answer === undefined ? undefined : Date.parse(answer.message.time);
  }

  /** A subject's last message, from the stream's leader and not from a mirror or a follower; `undefined`: there is none. */
  async last(stream: string, subject: string, signal?: AbortSignal): Promise<{ seq: number; data?: string } | undefined> {
    const request = { last_by_subj: subject };
    return (await found(this.#call<{ message: { seq: number; data?: string } }>(`STREAM.MSG.GET.${stream}`, request, signal)))?.message;
  }

  /** All names; none where there is no such stream. */
  async consumers(stream: string, signal?: AbortSignal): Promise<readonly string[]> {
    const names: string[] = [];
    for (;;) {
      const request = { offset: names.length };
      const page = await found(
        this.#call<{ consumers: readonly string[] | null; total: number }>(`CONSUMER.NAMES.${stream}`, request, signal),
      );
      names.push(...(page?.consumers ?? []));
      if (page === undefined || (page.consumers ?? []).length === 0 || names.length >= page.total) return names;
    }
  }

  /** `undefined`: there is none. */
  consumer(stream: string, name: string, signal?: AbortSignal): Promise<ConsumerInfo | undefined> {
    return found(this.#call<ConsumerInfo>(`CONSUMER.INFO.${stream}.${name}`, undefined, signal));
  }

  /** When it resolves, its start is stored. One that is there with the same start gets the other settings. */
  createConsumer(stream: string, name: string, config: object, signal?: AbortSignal): Promise<ConsumerInfo> {
    const request = { stream_name: stream, config: { durable_name: name, ack_policy: "explicit", ...config } };
    return this.#call<ConsumerInfo>(`CONSUMER.DURABLE.CREATE.${stream}.${name}`, request, signal);
  }

  /** A consumer for one reader, which the server names, keeps in memory, and forgets when it is not asked for `idleMs`. */
  createReader(stream: string, idleMs: number, config: object, signal?: AbortSignal): Promise<ConsumerInfo> {
    const own = { ack_policy: "none", inactive_threshold: idleMs * NS, mem_storage: true, num_replicas: 1 };
    return this.#call<ConsumerInfo>(`CONSUMER.CREATE.${stream}`, { stream_name: stream, config: { ...own, ...config } }, signal);
  }

  async deleteConsumer(stream: string, name: string, signal?: AbortSignal): Promise<void> {
    await found(this.#call(`CONSUMER.DELETE.${stream}.${name}`, undefined, signal));
  }
}

/** `undefined` for what JetStream does not find. */
async function found<T>(asked: Promise<T>): Promise<T | undefined> {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof ApiError && [STREAM_NOT_FOUND, CONSUMER_NOT_FOUND, MESSAGE_NOT_FOUND].includes(error.number)) return undefined;
    throw error;
  }
}

/** Where a consumer begins. `behind` is the sequence that a position or the stream's end stands for. */
export function policyOf(start: WireStart, behind: number): Readonly<Record<string, string | number>> {
  if (start.kind === "earliest") return { deliver_policy: "all" };
  if (start.kind !== "time") return { deliver_policy: "by_start_sequence", opt_start_seq: behind + 1 };
  return { deliver_policy: "by_start_time", opt_start_time: new Date(Math.max(0, Math.ceil(start.ms))).toISOString() };
}

/** How long a delivery is owned, ms; the server's own default where a consumer does not say. */
export function leaseOf({ config }: ConsumerInfo): number {
  return (config.ack_wait ?? 30_000 * NS) / NS;
}

/** Everything up to this sequence has been handed to the group, or lies before its start. */
export function deliveredUpTo({ config, delivered }: ConsumerInfo): number {
  if (delivered.consumer_seq > 0 || config.deliver_policy !== "by_start_sequence") return delivered.stream_seq;
  // The start that was asked for: what retention removed behind it since is a loss.
  return Math.min(delivered.stream_seq, (config.opt_start_seq ?? 1) - 1);
}

/** Everything up to this sequence is acknowledged, or lies before the group's start. */
export function floorOf(info: ConsumerInfo): number {
  if (info.num_ack_pending === 0) return info.delivered.consumer_seq === 0 ? deliveredUpTo(info) : info.delivered.stream_seq;
  const start = info.config.deliver_policy === "by_start_sequence" ? (info.config.opt_start_seq ?? 1) - 1 : 0;
  return Math.max(info.ack_floor.stream_seq, start);
}

/** What a delivery's reply subject says: https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages */
export interface Numbers {
  readonly deliveries: number;
  /** Its place in the stream. */
  readonly stream: number;
  /** The how manieth delivery of its consumer it is. */
  readonly consumer: number;
  /** When it was stored, epoch ms by the server's clock. */
  readonly storedAt: number;
}

export function numbersOf(reply: string): Numbers {
  const dots: number[] = [];
  for (let dot = reply.indexOf("."); dot !== -1; dot = reply.indexOf(".", dot + 1)) dots.push(dot);
  // `$JS.ACK.<stream>.<consumer>.…`, or with domain and account before the stream.
  const at = dots.length === 8 ? 3 : 5;
  const number = (word: number, cut = 0): number =>
    Number(reply.slice((dots[at + word] as number) + 1, (dots[at + word + 1] as number) - cut));
  return { deliveries: number(0), stream: number(1), consumer: number(2), storedAt: number(3, 6) };
}

/**
 * Where a consumer takes words about one of its deliveries, whoever has it: it looks at the sequence in the stream, and that the number of
 * the delivery is one that it has given.
 */
export function ackSubject(stream: string, { name, delivered }: ConsumerInfo, sequence: number): string {
  return `$JS.ACK.${stream}.${name}.1.${sequence}.${delivered.consumer_seq}.0.0`;
}
