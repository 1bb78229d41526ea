import type { EffectiveCapabilities } from "./capabilities.ts";
import type { TopicDefinition } from "./definition.ts";
import type { Place } from "./driver/wire.ts";
import type { Batch, Delivery, Message, Receipt } from "./message.ts";
import type { BatchOptions, ConsumeOptions, Feature, Features, PublishOptions } from "./options.ts";
import type { Position, Start } from "./position.ts";
import type { In, Out, Schema } from "./schema.ts";

/** A handler for one topic's messages. Returning acknowledges, throwing is a failure: retry, then dead letter. */
export type Handler<D extends TopicDefinition> = (
  message: Delivery<D extends TopicDefinition<infer S> ? Out<S> : never>,
) => void | Promise<void>;

/** A subscription at one moment: a snapshot, read without I/O. */
export interface SubscriptionState {
  readonly topic: string;
  /** `undefined` for broadcast. */
  readonly group: string | undefined;
  /** `stalled`: nothing moves because unsettled messages have reached the backend's holding bound. */
  readonly state: "running" | "paused" | "reconnecting" | "stalled" | "closed";
  /** Handlers at work. */
  readonly inFlight: number;
  /** Age of the handler that has run longest, ms; 0 when none runs. */
  readonly oldestInFlightMs: number;
}

/** A running subscription. `await using` closes it. */
export interface Subscription extends AsyncDisposable {
  readonly state: SubscriptionState;
  /** Resolves after `close`; rejects when the subscription dies by itself. Unhandled, that ends the process: failure is loud. */
  readonly closed: Promise<void>;
  /** `"existing"`: the group was there, keeps its place, and `from` was not used. */
  readonly startedFrom: "created" | "existing";
  /** Handlers at once, from 1. Takes effect with the next message. Throws `INVALID_ARGUMENT`. */
  setConcurrency(concurrency: number): void;
  /** Starts no more handlers; running ones finish and nothing is given back. */
  pause(): void;
  resume(): void;
  /** Resolves when the backend has every ack given so far. Rejects with the backend's error. */
  flush(): Promise<void>;
  /** Drains: running handlers finish and acks are flushed; after `deadlineMs` (default 25,000) their signals abort and the rest is handed back. */
  close(o?: { deadlineMs?: number | undefined }): Promise<void>;
}

/** Messages to pull with `for await`. Leaving the loop (break, throw) closes the stream and hands back what is unsettled. */
export interface Stream<T> extends AsyncIterable<T>, AsyncDisposable {
  close(): Promise<void>;
}

/** A reading of what was published; moves no group, and its messages have no ack. Rejects `DATA_LOSS` where retention has passed. */
export interface Replay<T> extends Stream<Message<T>> {
  /** Fixed when the replay opens: a group that starts here joins without a gap. */
  readonly end: Promise<Position>;
  /** Resolves when everything up to `end` has been yielded. Leaving the loop before, a failure and `close` reject it. */
  readonly caughtUp: Promise<Position>;
  /** What to save to resume: covers everything yielded before the current message. */
  position(): Position;
}

/** What a group has not acknowledged yet. */
export interface Lag {
  /** `undefined` where the backend cannot say; never a guessed 0. */
  readonly messages: number | undefined;
  /** What `messages` counts: an entry may hold several messages. */
  readonly unit: "message" | "entry";
  readonly kind: "exact" | "upper-bound" | "estimate";
  /** Delivered and not yet settled. */
  readonly inFlight: number | undefined;
  /** Age of the oldest one, ms. */
  readonly oldestMs: number | undefined;
}

/** A message that its group gave up on. */
export interface DeadLetter {
  /** The id of the message that failed. */
  readonly id: string;
  readonly key: string | undefined;
  readonly headers: Readonly<Record<string, string>>;
  /** The body as it was published; decoding it may be what failed. */
  readonly bytes: Uint8Array;
  /** Parses `bytes` as JSON. Throws `DECODE`. */
  json(): unknown;
  readonly reason: string;
  readonly error: { readonly name: string; readonly message: string } | undefined;
  /** Handler runs before it was given up. */
  readonly attempts: number;
  readonly firstFailedAt: Date;
  readonly lastFailedAt: Date;
  readonly origin: { readonly topic: string; readonly group: string; readonly place: Place | undefined };
}

/** Which dead letters; everything given must hold. */
export interface DeadLetterFilter {
  ids?: readonly string[] | undefined;
  reason?: string | undefined;
  /** Last failed at this time or later. */
  since?: Date | undefined;
  /** Last failed before this time. */
  until?: Date | undefined;
  where?: ((letter: DeadLetter) => boolean) | undefined;
  /** At most so many. */
  limit?: number | undefined;
}

/** The dead letters of one group: those neither redriven nor purged. */
export interface DeadLetters {
  list(filter?: DeadLetterFilter): Stream<DeadLetter>;
  count(): Promise<number>;
  /** Sends them back to the group that failed, and to no other, in order; `dryRun` only counts. `perSecond` limits the rate. */
  redrive(
    o?: DeadLetterFilter & { dryRun?: boolean | undefined; perSecond?: number | undefined; signal?: AbortSignal | undefined },
  ): Promise<{ readonly matched: number; readonly moved: number }>;
  /** Forgets them; resolves to how many. The filter is not optional: an empty object means all. */
  purge(filter: DeadLetterFilter): Promise<number>;
}

/** A handle for one group of a topic; making it does no I/O. */
export interface Group {
  readonly name: string;
  readonly deadLetters: DeadLetters;
  /** Rejects `UNSUPPORTED`, `NOT_FOUND`. */
  lag(): Promise<Lag>;
  /** The group's floor: everything before it is acknowledged. */
  position(): Promise<Position>;
  /** Moves the group; outstanding deliveries are lost to their handlers. Rejects `GROUP_ACTIVE` where only an idle group can move. */
  seek(to: Start): Promise<void>;
  /** Deletes the group with what it has not acknowledged, its inbox and its dead letters. */
  delete(): Promise<void>;
}

/** What every topic can do. */
export interface TopicCore<S extends Schema> {
  /** The name as the application defined it, without `prefix`. */
  readonly name: string;
  /**
   * Resolves when the backend has confirmed the message. Rejects `INVALID_PAYLOAD`, `INVALID_ARGUMENT`, `TOO_LARGE`, `UNSUPPORTED` before
   * anything is sent; `TIMEOUT`, `UNAVAILABLE` and others with `inDoubt: true` where it may have been stored.
   */
  publish(payload: In<S>, o?: PublishOptions): Promise<Receipt>;
  /** Publishes all, one key's in array order. Rejects `PARTIAL` with index-aligned `details.results` when not all were confirmed. */
  publishAll(records: readonly ({ payload: In<S> } & PublishOptions)[]): Promise<readonly Receipt[]>;
  /** Every message from now on, or from `from`, to this subscriber alone. Resolves when the start is fixed. */
  subscribe(o: ConsumeOptions & { broadcast: true }, handler: (message: Delivery<Out<S>>) => void | Promise<void>): Promise<Subscription>;
  /** What the backend knows of the topic; `undefined` for what it cannot tell. */
  describe(): Promise<{
    readonly exists: boolean;
    readonly partitions: number | undefined;
    readonly groups: readonly string[] | undefined;
  }>;
  /** Deletes the topic with its groups and their dead letters; deleting what is not there succeeds. */
  delete(): Promise<void>;
}

/** The verbs that come and go with a feature. A key without verbs is checked at the call. */
export interface Verbs<S extends Schema> extends Record<Exclude<Feature, "groups" | "replay">, unknown> {
  groups: {
    /** Joins a group and handles its messages. Resolves when the group's start is durable. */
    subscribe(o: ConsumeOptions & { group: string }, handler: (message: Delivery<Out<S>>) => void | Promise<void>): Promise<Subscription>;
    /** The same with several messages at once; one key's stay in order. */
    subscribeBatches(o: BatchOptions, handler: (batch: Batch<Out<S>>) => void | Promise<void>): Promise<Subscription>;
    /** Messages to pull; a key's next comes only after its previous one settled. */
    messages(o: ConsumeOptions & { group: string }): Stream<Delivery<Out<S>>>;
    batches(o: BatchOptions): Stream<Batch<Out<S>>>;
    /** A handle, without I/O. */
    group(name: string): Group;
    /** Creates the group if it is missing; everything published after this resolves is kept for it. Default start: latest. */
    createGroup(name: string, o?: { from?: Start | undefined }): Promise<Group>;
  };
  replay: {
    /** Reads again what was published: up to the end as of now, or on and on with `follow`. `key` leaves out other keys. */
    replay(o: {
      from: Exclude<Start, "latest">;
      to?: Start | undefined;
      follow?: boolean | undefined;
      key?: string | undefined;
      signal?: AbortSignal | undefined;
    }): Replay<Out<S>>;
  };
}

type VerbsOf<S extends Schema, F extends Feature> = [F] extends [never]
  ? unknown
  : (F extends unknown ? (x: Verbs<S>[F]) => void : never) extends (x: infer I) => void
    ? I
    : never;

/** A topic on a broker with the features `F`: the core verbs and those of each feature. */
export type Topic<S extends Schema = Schema, F extends Feature = Feature> = TopicCore<S> & VerbsOf<S, F>;

/** The state of a broker for probes, read without I/O. */
export interface Health {
  /** Connected, and every subscription runs. */
  readonly ready: boolean;
  /** Not failed for good: restarting the process would not help more than waiting. */
  readonly live: boolean;
  readonly connection: "connected" | "reconnecting" | "closed";
  readonly subscriptions: readonly SubscriptionState[];
}

/** What provisioning found or did about one topic; `detail` says it in words. */
export interface ProvisionResult {
  readonly topic: string;
  readonly action: "create" | "none" | "differs";
  readonly detail: string;
}

/** A handle on one backend, or on several by `routed`. `await using` closes it. */
export interface Broker<in F extends Feature = Feature> extends AsyncDisposable {
  /** The boolean view of the capabilities. Before a lazy broker has connected, reading it throws `UNAVAILABLE`. */
  readonly features: Features;
  /** The effective record: levels, limits, native or portable. Before a lazy broker has connected, reading it throws `UNAVAILABLE`. */
  readonly capabilities: EffectiveCapabilities;
  /** A handle, without I/O. */
  topic<S extends Schema>(definition: TopicDefinition<S>): Topic<S, F>;
  /** Untyped JSON: payloads go in and come out as `unknown`. */
  topic(name: string): Topic<Schema<unknown, unknown>, F>;
  /** Whether the backend has all of these features; narrows the type. Before a lazy broker has connected it throws `UNAVAILABLE`. */
  supports<const G extends Feature>(...features: readonly G[]): this is Broker<F | G>;
  /** Creates what is missing (topics, groups) and alters nothing; `dryRun` only reports. */
  provision(topics: readonly TopicDefinition[], o?: { dryRun?: boolean | undefined }): Promise<readonly ProvisionResult[]>;
  health(): Health;
  /** A round trip to the backend; resolves to its ms. */
  ping(o?: { signal?: AbortSignal | undefined }): Promise<number>;
  /** Connects a lazy broker now, to fail early. On a connected one it resolves at once. */
  connect(): Promise<this>;
  /** Closes every subscription as `Subscription.close` does, settles every promise, lets the connection go. Idempotent. */
  close(o?: { deadlineMs?: number | undefined }): Promise<void>;
}
