import type { Place } from "./driver/wire.ts";

export type { Place };

/** A message as it was published. */
export interface Message<T> {
  /** The topic's name as the application defined it (without `prefix`). */
  readonly topic: string;
  readonly id: string;
  /** The ordering key as text; `undefined` without a key or where its bytes are no UTF-8 (see `keyBytes`). */
  readonly key: string | undefined;
  readonly keyBytes: Uint8Array | undefined;
  /** Headers as text, the last of a repeated name; brokerkit's own are left out. */
  readonly headers: Readonly<Record<string, string>>;
  readonly rawHeaders: readonly (readonly [name: string, value: Uint8Array])[];
  readonly payload: T;
  /** True for a null body: nothing was decoded or validated, and `payload` is null. */
  readonly tombstone: boolean;
  readonly publishedAt: Date;
  readonly place: Place | undefined;
  readonly replayed: boolean;
}

/** A message on its way through a handler. */
export interface Delivery<T> extends Message<T> {
  /** 1 for the first handler run; counts earlier deliveries where the backend does. */
  readonly attempt: number;
  readonly redelivered: boolean;
  /** Aborts when ownership is lost, the handler's time is over, or the subscription's close deadline has passed. */
  readonly signal: AbortSignal;
  /** Settles: handled. Resolves when accepted for settlement; `subscription.flush()` says when the backend has it. */
  ack(): Promise<void>;
  /** Settles: a failure, to be retried after `delayMs` (default: the retry policy's backoff). */
  nack(o?: { delayMs?: number | undefined; error?: unknown }): Promise<void>;
  /** Settles: dead letter now, whatever the attempts. */
  reject(reason: string): Promise<void>;
  /** Asks for at least `ms` more, counted from now: handler time-out and lease alike. */
  extend(ms: number): Promise<void>;
}

/** Several deliveries handled together; one key's messages in order. */
export interface Batch<T> extends Iterable<Delivery<T>> {
  readonly length: number;
  readonly payloads: readonly T[];
  readonly signal: AbortSignal;
  /** Acknowledges what is not settled yet. */
  ack(): Promise<void>;
  nack(o?: { delayMs?: number | undefined }): Promise<void>;
}

/** What a confirmed publish answers. */
export interface Receipt {
  readonly id: string;
  readonly place: Place | undefined;
  /** The backend had this act of publishing already (dedupe window) and stored nothing new. */
  readonly duplicate: boolean;
}

/** Turns payloads into bytes and back. `decode` throws for bytes it does not understand. */
export interface Codec {
  /** Sent as the `content-type` header. */
  readonly contentType: string;
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}
