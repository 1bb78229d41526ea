import type { OutgoingMessage, ProducerOptions } from "../transport.ts";
import type { Call, Item, Writer } from "./call.ts";
import type { Connection, ProducerLink } from "./connection.ts";
import { localError, maybeSent, type PulsarError } from "./errors.ts";
import { type Batch, Lanes } from "./lanes.ts";
import type { Lookup } from "./lookup.ts";
import type { Settings } from "./options.ts";
import { Revival } from "./revival.ts";
import { bounded } from "./waiting.ts";
import { commandFrame } from "./wire/command.ts";
import { EntryError } from "./wire/errors.ts";
import type { SendReceipt } from "./wire/frame.ts";
import { messageSize, sendFrame } from "./wire/send.ts";

/** Entries and bytes that may wait for receipts. More entries would be smaller ones, and no faster. */
const MAX_FLIGHTS = 64;
const MAX_FLIGHT_BYTES = 8_388_608;
const CLOSE_MS = 1_000;
/** What the broker says of a write that failed, which may have reached some bookies. */
const MAY_BE_STORED: ReadonlySet<string> = new Set(["PersistenceError", "MetadataError", "UnknownError"]);

const awaited = (item: Item): boolean => item.call.awaits(item);

/** What Key_Shared dispatches an entry by. */
type EntryKeys = Pick<Batch<Item>, "orderingKey" | "partitionKey">;

/** An entry without a receipt. */
interface Flight {
  readonly items: readonly Item[];
  readonly keys: EntryKeys;
  readonly sequenceId: number;
  readonly lastSequenceId: number;
  readonly frame: Buffer;
  /** Monotonic ms. */
  readonly writtenAt: number;
}

export interface PartitionProducerOptions extends ProducerOptions {
  readonly id: number;
  readonly partition: number;
  /** It is all of its topic, whose order it keeps across keys. */
  readonly ordered: boolean;
  readonly lookup: Lookup;
  readonly settings: Settings;
}

/** A producer of one partition. What waits for room in its window is gathered into larger entries meanwhile. */
export class PartitionProducer implements ProducerLink, Writer {
  readonly #options: PartitionProducerOptions;
  readonly #lanes: Lanes<Item>;
  #flights: Flight[] = [];
  #landed = 0;
  #flightBytes = 0;
  readonly #revival: Revival;
  #connection: Connection | undefined;
  /** It is to come back. */
  #away = false;
  /** How many of those that wait are awaited by nobody. */
  #idle = 0;
  /** It ended before it was known to be open. */
  #early: PulsarError | undefined;
  /** Given by the broker where the options have none. */
  #name: string;
  #epoch = 0;
  #sequenceId = -1;
  #scheduled = false;
  #closed: PulsarError | undefined;

  private constructor(options: PartitionProducerOptions) {
    this.#options = options;
    this.#lanes = new Lanes(options.settings.batching, options.ordered);
    this.#name = options.name ?? "";
    this.#revival = new Revival(
      options.settings,
      (signal) => this.#comeBack(signal),
      (error) => this.#end(error),
    );
  }

  static async open(options: PartitionProducerOptions, signal: AbortSignal): Promise<PartitionProducer> {
    const producer = new PartitionProducer(options);
    await producer.#attach(signal);
    return producer;
  }

  async #comeBack(signal: AbortSignal): Promise<void> {
    const { lookup, settings, topic } = this.#options;
    // A producer makes the topic that it does not find.
    if (!settings.createTopics) await lookup.partitions(topic, signal);
    await this.#attach(signal);
  }

  async #attach(signal: AbortSignal): Promise<void> {
    const { id, topic, name, properties = {}, lookup } = this.#options;
    const connection = await lookup.broker(topic, signal);
    this.#early = undefined;
    connection.attachProducer(id, this);
    try {
      const answer = await connection.request("producerSuccess", signal, (requestId) => ({
        case: "producer",
        value: {
          topic,
          producerId: id,
          requestId,
          metadata: Object.entries(properties).map(([key, value]) => ({ key, value })),
          // The same name and a higher epoch: whoever comes back takes the place of what it was.
          ...(this.#name === "" ? {} : { producerName: this.#name }),
          userProvidedProducerName: name !== undefined,
          epoch: BigInt(this.#epoch++),
        },
      }));
      this.#name = answer.producerName;
      if (this.#sequenceId < 0) this.#sequenceId = Number(answer.lastSequenceId) + 1;
    } catch (error) {
      this.#leave(connection);
      throw error;
    }
    const ended = this.#closed ?? this.#early;
    if (ended !== undefined) {
      this.#leave(connection);
      throw ended;
    }
    this.#connection = connection;
    this.#away = false;
    this.#resend(connection);
  }

  /** What had no receipt, under its old sequence ids, by which a broker that drops duplicates knows it; without what was aborted meanwhile. */
  #resend(connection: Connection): void {
    this.#sift();
    this.#flights = this.#flights.map((flight) => {
      const items = flight.items.filter(awaited);
      const whole = items.length === flight.items.length;
      return whole ? flight : { ...flight, items, frame: this.#frameOf(items, flight.sequenceId, flight.keys, connection) };
    });
    this.#flightBytes = 0;
    for (const { frame } of this.#flights) {
      this.#flightBytes += frame.length;
      connection.write(frame);
    }
    if (this.#lanes.length > 0) this.#schedule();
  }

  forget(): void {
    this.#idle += 1;
    // Only where nothing is taken from the lanes, and not for each of very many.
    if (this.#away && this.#idle * 2 >= this.#lanes.length) this.#sift();
  }

  #sift(): void {
    this.#idle = 0;
    this.#lanes.sift(awaited);
    this.#flights = this.#flights.slice(this.#landed).filter(({ items }) => items.some(awaited));
    this.#landed = 0;
  }

  /** Forgets the producer on both sides, without waiting. */
  #leave(connection: Connection): void {
    connection.detach(this.#options.id);
    // The answer is nobody's: its number is that of no request.
    connection.write(commandFrame({ case: "closeProducer", value: { producerId: this.#options.id, requestId: 0 } }));
  }

  /** It is not all of its topic any more. */
  share(): void {
    this.#lanes.ordered = false;
  }

  /** Takes a message, which is written in this turn of the event loop or once the window has room. */
  add(call: Call, index: number, message: OutgoingMessage): void {
    const item = call.item(index, message, messageSize(message), this);
    if (this.#closed !== undefined) return call.refuse(item, this.#closed);
    this.#lanes.add(item);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.#pump();
    });
  }

  #pump(): void {
    const connection = this.#connection;
    if (connection === undefined) return;
    while (this.#flights.length - this.#landed < MAX_FLIGHTS && this.#flightBytes < MAX_FLIGHT_BYTES && !connection.congested) {
      const batch = this.#lanes.take();
      if (batch === undefined) return;
      this.#write(connection, batch.messages, batch);
    }
  }

  /** Throws for what can't be written. */
  #frameOf(items: readonly Item[], sequenceId: number, { orderingKey, partitionKey }: EntryKeys, connection: Connection): Buffer {
    const { id: producerId, settings } = this.#options;
    return sendFrame(
      items.map((item) => item.message),
      {
        producerId,
        producerName: this.#name,
        sequenceId,
        publishTime: settings.clock.now(),
        compression: settings.compression,
        maxMessageSize: connection.maxMessageSize,
        ...(orderingKey === undefined ? {} : { orderingKey }),
        ...(partitionKey === undefined || items.length === 1 ? {} : { partitionKey }),
      },
    );
  }

  #write(connection: Connection, messages: readonly Item[], keys: EntryKeys): void {
    const items = messages.filter((item) => item.call.admits(item));
    if (items.length === 0) return;
    const sequenceId = this.#sequenceId;
    let frame: Buffer;
    try {
      frame = this.#frameOf(items, sequenceId, keys, connection);
    } catch (cause) {
      if (items.length > 1) {
        // Together they are more than this broker takes, or one of them can't be written: each half by itself.
        const half = items.length >> 1;
        for (const part of [items.slice(0, half), items.slice(half)]) this.#write(connection, part, keys);
        return;
      }
      const error =
        cause instanceof EntryError && cause.fault === "OVERSIZE" ? localError("MessageTooLarge", cause.message, { cause }) : cause;
      for (const item of items) item.call.refuse(item, error);
      return;
    }
    const lastSequenceId = sequenceId + items.length - 1;
    this.#sequenceId = lastSequenceId + 1;
    for (const item of items) item.written = true;
    this.#flights.push({ items, keys, sequenceId, lastSequenceId, frame, writtenAt: this.#options.settings.clock.monotonic() });
    this.#flightBytes += frame.length;
    connection.write(frame);
  }

  receipt({ sequenceId, ledger, entry }: SendReceipt): void {
    const flight = this.#flights[this.#landed];
    // Of an entry that was given up.
    if (flight === undefined || sequenceId < flight.sequenceId) return;
    if (sequenceId > flight.lastSequenceId) {
      const error = localError("ProtocolError", "The broker confirmed a message before the ones that were sent earlier.", {
        sent: "maybe",
      });
      return this.#connection?.destroy(error);
    }
    this.#land(flight);
    const { items } = flight;
    const { partition } = this.#options;
    const duplicate = ledger < 0;
    for (let n = 0; n < items.length; n++) {
      const { call, index } = items[n] as Item;
      const id = { ledger, entry, partition, batchIndex: items.length === 1 ? -1 : n };
      call.settle(index, duplicate ? { ok: true, id, duplicate } : { ok: true, id });
    }
    if (this.#lanes.length > 0) this.#schedule();
  }

  #land(flight: Flight): void {
    this.#landed += 1;
    this.#flightBytes -= flight.frame.length;
    if (this.#landed < 64 && this.#landed < this.#flights.length) return;
    this.#flights = this.#flights.slice(this.#landed);
    this.#landed = 0;
  }

  /** A refusal overtakes the receipts of what was written before: https://github.com/apache/pulsar, `Producer.publishMessage`. */
  refused(sequenceId: number, error: PulsarError): void {
    const waiting = this.#flights.slice(this.#landed);
    const flight = waiting.find((one) => sequenceId >= one.sequenceId && sequenceId <= one.lastSequenceId);
    if (flight === undefined) return;
    if (!MAY_BE_STORED.has(error.code)) for (const item of flight.items) item.call.refuse(item, error);
    // What was written behind it may be stored without it: nothing more may follow.
    this.#end(error);
  }

  drained(): void {
    if (this.#lanes.length > 0) this.#schedule();
  }

  detached(error: PulsarError): void {
    this.#early = error;
    if (this.#connection === undefined) return;
    this.#connection = undefined;
    this.#away = this.#revival.begin(error);
    if (this.#away) this.#sift();
    else this.#end(error);
  }

  get silentMs(): number {
    const flight = this.#flights[this.#landed];
    if (flight === undefined || this.#connection === undefined) return 0;
    return this.#options.settings.clock.monotonic() - Math.max(flight.writtenAt, this.#connection.heardAt);
  }

  expel(): void {
    if (this.#away) return this.#sift();
    this.#connection?.destroy(localError("ConnectionLost", "The connection was closed, so that nothing of an aborted call is sent late."));
  }

  #end(error: PulsarError): void {
    if (this.#closed !== undefined) return;
    if (this.#connection !== undefined) this.#leave(this.#connection);
    this.#connection = undefined;
    this.#fail(error);
    this.#options.closed?.(error);
  }

  /** Everything that has no receipt fails. */
  #fail(error: PulsarError): void {
    this.#closed = error;
    this.#revival.stop();
    const unsure = maybeSent(error);
    for (const { items } of this.#flights.slice(this.#landed))
      for (const { call, index } of items) call.settle(index, { ok: false, error: unsure, sent: "maybe" });
    this.#flights = [];
    this.#landed = 0;
    this.#refuseWaiting(error);
  }

  #refuseWaiting(error: PulsarError): void {
    for (let batch = this.#lanes.take(); batch !== undefined; batch = this.#lanes.take())
      for (const item of batch.messages) item.call.refuse(item, error);
  }

  /** Waits a moment for what is in flight; what has no receipt by then fails. */
  async close(): Promise<void> {
    const connection = this.#connection;
    if (this.#closed !== undefined) return;
    if (connection !== undefined) await this.#goodbye(connection);
    if (this.#closed === undefined) this.#fail(localError("Closed", "The producer was closed."));
  }

  async #goodbye(connection: Connection): Promise<void> {
    const { id: producerId, settings } = this.#options;
    this.#pump();
    // What has no room in the window any more: nothing may be written behind the farewell.
    this.#connection = undefined;
    this.#refuseWaiting(localError("Closed", "The producer was closed."));
    // The broker answers when everything that it has received before is stored.
    const goodbye = (signal: AbortSignal): Promise<unknown> =>
      connection.request("success", signal, (requestId) => ({ case: "closeProducer", value: { producerId, requestId } }));
    await bounded(settings.clock, CLOSE_MS, "The broker did not confirm.", goodbye).catch(() => {
      // Nothing of what is about to fail may reach the broker later.
      if (this.#landed < this.#flights.length)
        connection.destroy(localError("ConnectionLost", "The broker took nothing while a producer was closed."));
    });
    connection.detach(producerId);
  }
}
