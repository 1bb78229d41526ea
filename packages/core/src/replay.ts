import { encodeKey } from "./codec/key.ts";
import { decodePayload, Undecodable } from "./codec/payload.ts";
import type { BoundTopic } from "./definition.ts";
import { idOf, MessageView } from "./delivery.ts";
import type { Clock } from "./driver/adapter.ts";
import type { Cursor } from "./driver/driver.ts";
import type { Place, ShardId, WireDelivery, WireStart } from "./driver/wire.ts";
import { BrokerError, fromDriver } from "./errors.ts";
import type { Connection } from "./lifecycle/connection.ts";
import { dataLoss } from "./lifecycle/loss.ts";
import type { Message } from "./message.ts";
import { encodePosition, type Position } from "./position.ts";
import { timeoutSignal } from "./primitives/abort.ts";
import { type Deferred, deferred } from "./primitives/deferred.ts";
import { sleep } from "./primitives/sleep.ts";
import type { Replay } from "./surface.ts";
import type { Telemetry } from "./telemetry/events.ts";

export interface ReplayWiring {
  readonly adapter: string;
  readonly connection: Connection;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
}

export interface ReplayOptions {
  readonly topic: BoundTopic;
  /** Asked once the topic is ready; throws for what this topic can't start from. */
  readonly start: () => { readonly from: WireStart; readonly to: WireStart | undefined };
  readonly follow: boolean;
  readonly key: string | undefined;
  readonly signal: AbortSignal | undefined;
}

const OPEN_MS = 15_000;
const WAIT_MS = 30_000;
const DRY_MS = 50;
const READ = 1_000;
const LONGEST_PAUSE_MS = 2_000;

/** What a cursor gives to whoever reads it raw. */
export interface RawBatch {
  readonly deliveries: readonly WireDelivery[];
  readonly atEnd: boolean;
}

/** Reads records of a topic through one driver cursor, opening it again behind the last record after the link broke. */
export class CursorReader {
  readonly #wiring: ReplayWiring;
  readonly #topic: string;
  readonly #to: WireStart | undefined;
  readonly #follow: boolean;
  readonly #stop: AbortSignal;
  readonly #loss: (from: Place | undefined, to: Place | undefined) => void;
  readonly #read = new Map<ShardId, Place>();
  #from: WireStart;
  #cursor: Cursor | undefined;
  #caughtUp = false;
  #dry = false;
  #end: ReadonlyMap<ShardId, Place> | undefined;

  constructor(
    wiring: ReplayWiring,
    o: {
      topic: string;
      from: WireStart;
      to: WireStart | undefined;
      follow: boolean;
      stop: AbortSignal;
      loss?: (from?: Place, to?: Place) => void;
    },
  ) {
    this.#wiring = wiring;
    this.#topic = o.topic;
    this.#from = o.from;
    this.#to = o.to;
    this.#follow = o.follow;
    this.#stop = o.stop;
    this.#loss = o.loss ?? (() => {});
  }

  /** The end as of the first opening. */
  async open(): Promise<ReadonlyMap<ShardId, Place>> {
    const { connection, clock } = this.#wiring;
    await connection.ready();
    const bound = timeoutSignal(clock, OPEN_MS, this.#stop);
    try {
      // The end was fixed when it was first opened, however often the link breaks.
      const to = this.#to ?? (this.#follow || this.#end === undefined ? undefined : { kind: "position" as const, cut: this.#end });
      const request = { topic: this.#topic, from: this.#from, to, follow: this.#follow };
      const cursor = await connection.driver.replay(
        { ...request, events: { dataLoss: (_, from, to) => this.#loss(from, to) } },
        bound.signal,
      );
      this.#cursor = cursor;
      // Closed while it opened.
      if (this.#stop.aborted) await this.close();
      if (this.#from.kind === "position") for (const [shard, place] of this.#from.cut) this.#read.set(shard, place);
      this.#end ??= cursor.end;
      return this.#end;
    } finally {
      bound.done();
    }
  }

  /** The next records; survives reconnects where places say where to go on. */
  async next(): Promise<RawBatch> {
    for (let tries = 0; ; tries++) {
      try {
        if (this.#cursor === undefined) await this.open();
        const cursor = this.#cursor as Cursor;
        const { maxWaitMs, maxRecords } = this.#wiring.connection.capabilities.receive;
        // Until the end has been seen it asks without waiting, so that whoever waits for `caughtUp` need not wait for news.
        const wait = this.#caughtUp ? WAIT_MS : this.#dry ? DRY_MS : 0;
        const batch = await cursor.receive(Math.min(READ, maxRecords), Math.min(wait, maxWaitMs), this.#stop);
        this.#caughtUp ||= batch.atEnd;
        this.#dry = batch.deliveries.length === 0;
        for (const { shard, place } of batch.deliveries) if (place !== undefined) this.#read.set(shard.id, place);
        return batch;
      } catch (raw) {
        const error = this.wrap(raw);
        const { from } = this.#wiring.connection.capabilities;
        if (!error.retryable || this.#stop.aborted || !from.replay.includes("position")) throw error;
        this.#wiring.connection.failed(error);
        await this.close();
        if (this.#read.size > 0) this.#from = { kind: "position", cut: new Map(this.#read) };
        await sleep(this.#wiring.clock, Math.min(LONGEST_PAUSE_MS, 25 * 2 ** tries), this.#stop);
      }
    }
  }

  async close(): Promise<void> {
    const cursor = this.#cursor;
    this.#cursor = undefined;
    await cursor?.close().catch(() => {});
  }

  wrap(raw: unknown): BrokerError {
    const { adapter, connection } = this.#wiring;
    return fromDriver(connection.driver, raw, { adapter, doing: "replay", topic: this.#topic });
  }
}

/** A replay in the application's hands. */
export class TopicReplay implements Replay<unknown> {
  readonly #wiring: ReplayWiring;
  readonly #options: ReplayOptions;
  #reader: CursorReader | undefined;
  readonly #stop = new AbortController();
  readonly #end: Deferred<Position> = deferred<Position>();
  readonly #caughtUp: Deferred<Position> = deferred<Position>();
  /** Everything yielded before the current message. */
  readonly #covered = new Map<ShardId, Place>();
  readonly #key: Uint8Array | undefined;
  #lost: BrokerError | undefined;
  #opening: Promise<CursorReader> | undefined;
  #iterated = false;
  readonly #abort = (): void => void this.close();

  constructor(wiring: ReplayWiring, options: ReplayOptions) {
    this.#wiring = wiring;
    this.#options = options;
    this.#key = options.key === undefined ? undefined : encodeKey(options.key);
    this.#end.promise.catch(() => {});
    this.#caughtUp.promise.catch(() => {});
    options.signal?.addEventListener("abort", this.#abort);
    if (options.signal?.aborted === true) void this.close();
  }

  get end(): Promise<Position> {
    void this.#open().catch(() => {});
    return this.#end.promise;
  }

  get caughtUp(): Promise<Position> {
    return this.#caughtUp.promise;
  }

  position(): Position {
    return encodePosition(this.#wiring.adapter, this.#options.topic.wire, this.#covered);
  }

  async close(): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    this.#options.signal?.removeEventListener("abort", this.#abort);
    const text = `The replay of "${this.#options.topic.name}" was closed before it got there.`;
    const closed = new BrokerError("CLOSED", text, { details: undefined, topic: this.#options.topic.name });
    this.#end.reject(closed);
    this.#caughtUp.reject(closed);
    await this.#reader?.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Message<unknown>, void, void> {
    if (this.#iterated) throw new BrokerError("CLOSED", "A replay is read once: open another one.", { details: undefined });
    this.#iterated = true;
    try {
      const reader = await this.#open();
      while (!this.#stop.signal.aborted) {
        const { deliveries, atEnd } = await reader.next();
        for (const wire of deliveries) {
          if (this.#lost !== undefined) throw this.#lost;
          if (this.#stop.signal.aborted) return;
          if (this.#key === undefined || (wire.key !== undefined && Buffer.compare(wire.key, this.#key) === 0))
            yield await this.#message(wire);
          if (wire.place !== undefined) this.#covered.set(wire.shard.id, wire.place);
        }
        if (this.#lost !== undefined) throw this.#lost;
        if (!atEnd) continue;
        this.#caughtUp.resolve(this.#end.promise);
        if (!this.#options.follow) return;
      }
    } catch (raw) {
      const error = this.#wrap(raw);
      if (this.#stop.signal.aborted) return;
      this.#end.reject(error);
      this.#caughtUp.reject(error);
      throw error;
    } finally {
      await this.close();
    }
  }

  #open(): Promise<CursorReader> {
    this.#opening ??= this.#openOnce();
    this.#opening.catch(() => {});
    return this.#opening;
  }

  async #openOnce(): Promise<CursorReader> {
    const { topic, follow } = this.#options;
    try {
      await topic.ready();
      const { from, to } = this.#options.start();
      if (from.kind === "position") for (const [shard, place] of from.cut) this.#covered.set(shard, place);
      const loss = (a?: Place, b?: Place): void => this.#dataLoss(a, b);
      const reader = new CursorReader(this.#wiring, { topic: topic.wire, from, to, follow, stop: this.#stop.signal, loss });
      this.#reader = reader;
      this.#end.resolve(encodePosition(this.#wiring.adapter, topic.wire, await reader.open()));
      return reader;
    } catch (raw) {
      const error = this.#wrap(raw);
      this.#end.reject(error);
      this.#caughtUp.reject(error);
      throw error;
    }
  }

  #wrap(raw: unknown): unknown {
    return this.#reader === undefined ? raw : this.#reader.wrap(raw);
  }

  async #message(wire: WireDelivery): Promise<Message<unknown>> {
    const { topic } = this.#options;
    const payload = await decodePayload(topic, wire.body);
    if (payload instanceof Undecodable) {
      // So that whoever decides to go on without this record can: position() is behind it now.
      if (wire.place !== undefined) this.#covered.set(wire.shard.id, wire.place);
      throw payload.error;
    }
    return new MessageView(topic.name, idOf(wire, topic.wire), wire, payload, true);
  }

  #dataLoss(from: Place | undefined, to: Place | undefined): void {
    const { adapter, telemetry } = this.#wiring;
    const { name } = this.#options.topic;
    telemetry.emit({ type: "data-loss", topic: name, shard: "", from, to });
    const hint = 'Start from a later point, or from "earliest".';
    this.#lost ??= dataLoss({ adapter, topic: name, reader: "this replay", from, to, hint });
  }
}
