/**
 * What the driver needs from a Pulsar client. Two implement it: `protocol/`, the binary protocol in TypeScript, and `native.ts`, the
 * official client. Everything here is per message: entries, batches and their acknowledgement sets are the transport's own business.
 */
export interface PulsarTransport {
  /** Opens or re-opens the connection for lookups: one bounded attempt. On a healthy connection it resolves at once. */
  connect(signal: AbortSignal): Promise<ServerFacts>;
  /** A round trip on every connection: what brokers have said before has arrived then. */
  ping(signal: AbortSignal): Promise<void>;
  /** Partitions of a topic, 0 for one that is not partitioned. Does not create the topic: rejects with `TopicNotFound` where there is none. */
  partitions(topic: string, signal: AbortSignal): Promise<number>;
  /** The persistent topics of a namespace (`tenant/namespace`), partitions as topics of their own. */
  topics(namespace: string, signal: AbortSignal): Promise<readonly string[]>;
  producer(options: ProducerOptions, signal: AbortSignal): Promise<TransportProducer>;
  consumer(options: ConsumerOptions, signal: AbortSignal): Promise<TransportConsumer>;
  /** Closes producers, consumers and connections. Idempotent, bounded, never rejects. */
  close(): Promise<void>;
}

export interface ServerFacts {
  /** As the broker says it: `Pulsar Server4.0.6`. `undefined` where the transport cannot know. */
  readonly version: string | undefined;
  /** Largest message with metadata, bytes. */
  readonly maxMessageSize: number;
}

export interface ProducerOptions {
  /** Full name: `persistent://tenant/namespace/topic`. All partitions of a partitioned one. */
  readonly topic: string;
  /** Unique by the broker's choice when left out; two producers of one name on one topic are refused. */
  readonly name?: string | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  /** The producer cannot go on (connection, topic unloaded, producer fenced or closed by the broker). Called once. */
  readonly closed?: ((error: unknown) => void) | undefined;
}

export interface OutgoingMessage {
  readonly payload: Uint8Array;
  /** `true`: the message has no body at all, which is a tombstone for compaction. */
  readonly nullValue?: boolean | undefined;
  /** Routes to a partition and names the lane of Key_Shared. Kept byte for byte. */
  readonly key?: Uint8Array | undefined;
  /** UTF-8 strings; order and duplicates are kept. */
  readonly properties: readonly (readonly [name: string, value: string])[];
  /** Epoch ms given by the application. */
  readonly eventTime?: number | undefined;
  /** Epoch ms: not before then (Shared and Key_Shared subscriptions only). */
  readonly deliverAt?: number | undefined;
}

/** `sent: "no"`: no byte of it can have been stored. */
export type SendResult =
  | { readonly ok: true; readonly id: MessageId; readonly duplicate?: true | undefined }
  | { readonly ok: false; readonly error: unknown; readonly sent: "no" | "maybe" };

export interface TransportProducer {
  /**
   * Sends the messages in batches and waits for the broker's receipts. Never rejects: one result per message, same order. Messages of one
   * key are stored in array order, and if one is not stored none of its key after it in this call is (`sent` says what may have been).
   * Calls may overlap; a later call's messages are never stored before an earlier one's of the same key.
   * On abort it settles within 1 s and nothing more of it is sent, closing the connection if that is what it takes.
   */
  send(messages: readonly OutgoingMessage[], signal: AbortSignal): Promise<readonly SendResult[]>;
  close(): Promise<void>;
}

/** One message's spot in one partition (0 for a topic without). `batchIndex` is -1 where the entry holds one message only. */
export interface MessageId {
  readonly ledger: number;
  readonly entry: number;
  readonly partition: number;
  readonly batchIndex: number;
}

/** `exclusive`: only this position's own partition is moved. Times are publish times, epoch ms. */
export type StartPoint =
  | { readonly kind: "earliest" }
  | { readonly kind: "latest" }
  | { readonly kind: "time"; readonly ms: number }
  /** After these messages; a partition that is missing starts at its earliest. */
  | { readonly kind: "after"; readonly ids: readonly MessageId[] };

export interface ConsumerOptions {
  readonly topic: string;
  readonly subscription: string;
  readonly type: "exclusive" | "shared" | "failover" | "key_shared";
  /** `false`: the broker keeps nothing of it once its consumers are gone. */
  readonly durable: boolean;
  /** Where a new subscription, or one that is not durable, starts. */
  readonly from: StartPoint;
  /** Messages that may be on their way or waiting to be received: flow permits, over all partitions. */
  readonly credit: number;
  readonly name?: string | undefined;
  readonly properties?: Readonly<Record<string, string>> | undefined;
  readonly events: ConsumerEvents;
}

export interface ConsumerEvents {
  /** Everything that was delivered and is not acknowledged is void from now on: the broker gives it to whoever asks next. Called once. */
  closed(error: unknown): void;
  /** Failover: this consumer became, or ceased to be, the one that is served for a partition. */
  active?(partition: number, active: boolean): void;
}

export interface IncomingMessage {
  readonly id: MessageId;
  readonly payload: Uint8Array;
  readonly nullValue: boolean;
  readonly key: Uint8Array | undefined;
  readonly properties: readonly (readonly [name: string, value: string])[];
  /** When the producer published it, epoch ms. */
  readonly publishTime: number;
  readonly eventTime: number | undefined;
  /** Earlier deliveries that the broker counted; 0 at first. */
  readonly redeliveries: number;
  readonly producerName: string;
  /** Readers only: what was stored between this message and that entry, the last one that came before it, is gone. */
  readonly gapAfter?: MessageId | undefined;
}

/** `confirmed`: the broker has answered. `lost`: no longer this consumer's, nothing was changed. */
export type AckResult = "confirmed" | "lost" | { readonly error: unknown };

export interface TransportConsumer {
  /** Waits up to `waitMs` for at most `max` messages, [] when idle or aborted. Rejects once closed and drained. One call at a time. */
  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly IncomingMessage[]>;
  /**
   * Acknowledges one by one and waits for the broker's answers. A message of a batch is confirmed when the broker keeps that: with
   * acknowledgement by batch index at once, without it when its whole entry is; until then the transport remembers it and drops it, should
   * the entry come again to this consumer (then `kept` resolves it: see `recorded` below).
   */
  ack(ids: readonly MessageId[]): Promise<readonly (AckResult | "recorded")[]>;
  /** Asks for redelivery now: of these and of nothing else that this consumer's user sees. */
  redeliver(ids: readonly MessageId[]): void;
  /** Stops asking for more; what is on its way still comes. */
  pause(): void;
  resume(): void;
  /** The last message stored in each partition that has one, as of now. */
  lastMessageIds(signal: AbortSignal): Promise<readonly MessageId[]>;
  /** Behind which entry the broker would go on in each partition: all before it is acknowledged, or was taken by retention. */
  floors(signal: AbortSignal): Promise<readonly MessageId[]>;
  /** Moves the subscription; the broker closes its consumers, this one included (`closed` is raised). */
  seek(to: StartPoint, signal: AbortSignal): Promise<void>;
  unsubscribe(signal: AbortSignal): Promise<void>;
  /** Idempotent, bounded, never rejects. What is not acknowledged goes to other consumers at once. */
  close(): Promise<void>;
}
