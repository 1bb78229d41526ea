import type { AckResult, ConsumerOptions, IncomingMessage, MessageId, StartPoint } from "../transport.ts";
import { Acks } from "./acks.ts";
import { Chunks, MAX_UNPACKED, type Place } from "./chunks.ts";
import type { Connection, ConsumerLink } from "./connection.ts";
import { Entries, Entry } from "./entries.ts";
import { localError, PulsarError } from "./errors.ts";
import { Flow } from "./flow.ts";
import { compareIds, type Inbox } from "./inbox.ts";
import { incomingOf } from "./incoming.ts";
import type { Lookup } from "./lookup.ts";
import type { Settings } from "./options.ts";
import type { Answer } from "./requests.ts";
import { Revival } from "./revival.ts";
import { seekTarget } from "./seek.ts";
import { type Start, startOf } from "./start.ts";
import { bounded } from "./waiting.ts";
import { redeliverFrame } from "./wire/ack.ts";
import { commandFrame } from "./wire/command.ts";
import { decodeMessages, decodeMetadata, type EntryMetadata } from "./wire/entry.ts";
import { EntryError } from "./wire/errors.ts";
import type { MessageFrame } from "./wire/frame.ts";
import { fromMessageIdData } from "./wire/ids.ts";
import { CommandSubscribe_SubType, KeySharedMode } from "./wire/pulsar.generated.ts";

const TYPES = {
  exclusive: CommandSubscribe_SubType.Exclusive,
  shared: CommandSubscribe_SubType.Shared,
  failover: CommandSubscribe_SubType.Failover,
  key_shared: CommandSubscribe_SubType.Key_Shared,
} as const;
const CLOSE_MS = 1_000;

export interface PartitionConsumerOptions extends Omit<ConsumerOptions, "topic" | "events"> {
  readonly id: number;
  /** The partition's own name. */
  readonly topic: string;
  readonly partition: number;
  /** Of what all partitions together may have here. */
  readonly share: number;
  readonly lookup: Lookup;
  readonly settings: Settings;
  readonly inbox: Inbox;
  /** The consumer ended by itself. Called once. */
  readonly ended: (error: PulsarError) => void;
  readonly active: ((partition: number, active: boolean) => void) | undefined;
}

/** A consumer of one partition: it owns what the broker has delivered to it until it is acknowledged. */
export class PartitionConsumer implements ConsumerLink {
  readonly #options: PartitionConsumerOptions;
  readonly #revival: Revival;
  #start: Start;
  /** Nobody but this consumer ever gets what it gets, and nothing outlives it: acknowledgements mean nothing, and nothing is kept for them. */
  readonly #reader: boolean;
  readonly #entries = new Entries();
  readonly #chunks = new Chunks();
  #flow: Flow;
  #connection: Connection | undefined;
  /** It ended before it was known to be open. */
  #early: PulsarError | undefined;
  /** The last message that the user took, where coming back means going on behind it. */
  #last: MessageId | undefined;
  /** The last entry that came to a reader. */
  #frontier: MessageId | undefined;
  /** Frames that wait until the broker has told whether something before them is gone. */
  #doubtful: MessageFrame[] | undefined;
  /** Behind this, something is gone before what comes next. */
  #gapAfter: MessageId | undefined;
  #running = false;
  #acks: Acks | undefined;
  #redeliver: Entry[] = [];
  #closed: PulsarError | undefined;

  private constructor(options: PartitionConsumerOptions) {
    this.#options = options;
    this.#start = startOf(options.from, options.durable, options.partition, options.settings.clock.now());
    this.#reader = !options.durable && options.type === "exclusive";
    this.#flow = this.#freshFlow();
    this.#revival = new Revival(
      options.settings,
      (signal) => this.#comeBack(signal),
      (error) => this.#end(error),
    );
  }

  #freshFlow(): Flow {
    const { id: consumerId, credit, share } = this.#options;
    return new Flow(credit, share, (messagePermits) =>
      this.#connection?.write(commandFrame({ case: "flow", value: { consumerId, messagePermits } })),
    );
  }

  /** Subscribes. Nothing is sent by the broker before `run`. */
  static async open(options: PartitionConsumerOptions, signal: AbortSignal): Promise<PartitionConsumer> {
    const consumer = new PartitionConsumer(options);
    await consumer.#attach(signal);
    try {
      await consumer.#note(signal);
    } catch (error) {
      await consumer.close();
      throw error;
    }
    return consumer;
  }

  /** What is "latest" now is not what it will be when the connection is lost. */
  async #note(signal: AbortSignal): Promise<void> {
    const { settings, from } = this.#options;
    if (settings.reconnect && this.#reader && from.kind === "latest") this.#last = await this.lastMessageId(signal);
  }

  /** Everything is void: the broker gives it to whoever asks first. */
  async #comeBack(signal: AbortSignal): Promise<void> {
    const { partition, durable, from, settings } = this.#options;
    const behind: StartPoint | undefined = this.#last && { kind: "after", ids: [this.#last] };
    // Where "latest" was noted and is missing, there was nothing yet.
    const again = this.#reader ? (behind ?? (from.kind === "latest" ? { kind: "earliest" as const } : from)) : from;
    this.#start = startOf(again, durable, partition, settings.clock.now());
    this.#frontier = this.#last;
    await this.#attach(signal);
    this.#flow = this.#freshFlow();
    this.#flow.run(this.#running);
  }

  async #attach(signal: AbortSignal): Promise<void> {
    const { id: consumerId, topic, subscription, type, durable, name, properties = {}, lookup, settings } = this.#options;
    const connection = await lookup.broker(topic, signal);
    this.#early = undefined;
    connection.attachConsumer(consumerId, this);
    try {
      await connection.request("success", signal, (requestId) => ({
        case: "subscribe",
        value: {
          topic,
          subscription,
          subType: TYPES[type],
          consumerId,
          requestId,
          durable,
          priorityLevel: 0,
          forceTopicCreation: settings.createTopics,
          metadata: Object.entries(properties).map(([key, value]) => ({ key, value })),
          ...(name === undefined ? {} : { consumerName: name }),
          ...(type === "key_shared" ? { keySharedMeta: { keySharedMode: KeySharedMode.AUTO_SPLIT } } : {}),
          ...this.#start.fields,
        },
      }));
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
    this.#acks = new Acks(connection, consumerId, settings);
  }

  /** Forgets the consumer on both sides, without waiting. */
  #leave(connection: Connection): void {
    connection.detach(this.#options.id);
    connection.write(commandFrame({ case: "closeConsumer", value: { consumerId: this.#options.id, requestId: 0 } }));
  }

  /** Asks for messages, or for no more of them. */
  run(on: boolean): void {
    this.#running = on;
    this.#flow.run(on);
  }

  message(frame: MessageFrame): void {
    if (this.#doubtful !== undefined) this.#doubtful.push(frame);
    else if (this.#reader && this.#frontier !== undefined && frame.ledger > this.#frontier.ledger) this.#doubt(frame, this.#frontier);
    else this.#read(frame);
  }

  /**
   * Retention takes whole ledgers, and moves whoever has not read them, without a word: where a reader comes to another ledger, it asks how
   * far it was moved. It acknowledges nothing, so nothing else moves it. Moved beyond what has just come, it may have come just in time: that
   * can't be told apart, and counts as gone.
   */
  #doubt(first: MessageFrame, frontier: MessageId): void {
    const frames = [first];
    this.#doubtful = frames;
    const { clock, answerTimeoutMs } = this.#options.settings;
    bounded(clock, answerTimeoutMs, "The broker did not say what it has removed.", (signal) => this.floor(signal))
      .then((floor) => {
        if (this.#doubtful !== frames || this.#closed !== undefined) return;
        this.#doubtful = undefined;
        if (compareIds(floor, frontier) > 0) this.#gapAfter ??= frontier;
        this.#read(first);
        for (const frame of frames.slice(1)) this.message(frame);
      })
      .catch((cause: unknown) => {
        // Where the connection is gone, that has been told.
        if (this.#connection === undefined) return;
        this.#end(cause instanceof PulsarError ? cause : localError("ProtocolError", "The broker sent an entry that is none.", { cause }));
      });
  }

  #read(frame: MessageFrame): void {
    const { ledger, entry } = frame;
    if (this.#reader) this.#frontier = { ledger, entry, partition: this.#options.partition, batchIndex: -1 };
    try {
      this.#take(frame, decodeMetadata(frame.metadata));
    } catch (cause) {
      if (!(cause instanceof EntryError)) throw cause;
      const where = `${this.#options.topic} ${frame.ledger}:${frame.entry}`;
      // Its checksum was right: it would come again as it is.
      this.#end(localError("Unsupported", `The entry ${where} can't be read: ${cause.message}`, { cause }));
    }
  }

  #take(frame: MessageFrame, metadata: EntryMetadata): void {
    if (metadata.chunk === undefined) return this.#keep(frame, metadata, frame.payload, []);
    const whole = this.#chunks.add(frame, metadata.chunk);
    if (whole === "repeated" && !this.#reader) this.#hold(new Entry(frame.ledger, frame.entry, [], []));
    if (whole === undefined || whole === "repeated") this.#flow.received(1, 0, frame.payload.length);
    else this.#keep(frame, metadata, whole.payload, whole.places);
  }

  /** `before`: the entries of the message's earlier chunks. */
  #keep(frame: MessageFrame, metadata: EntryMetadata, payload: Buffer, before: readonly Place[]): void {
    const { ledger, entry } = frame;
    const { inbox, partition } = this.#options;
    // Producers and brokers look at the size of what is compressed.
    const decoded = decodeMessages(metadata, payload, Math.max(payload.length, MAX_UNPACKED));
    const { messages, kept, charged } = incomingOf(frame, metadata, decoded, partition, this.#start.wants);
    // It may come twice to one consumer where the broker goes back by itself: what is here stays.
    if (this.#entries.get(ledger, entry) !== undefined) return this.#flow.received(charged, 0, payload.length);
    if (!this.#reader) this.#hold(new Entry(ledger, entry, messages, before));
    this.#flow.received(charged, kept, payload.length);
    if (kept === 0) return;
    if (this.#gapAfter !== undefined) {
      const at = messages.findIndex((message) => message !== undefined);
      messages[at] = { ...(messages[at] as IncomingMessage), gapAfter: this.#gapAfter };
      this.#gapAfter = undefined;
    }
    inbox.add(messages);
  }

  #hold(held: Entry): void {
    // Nothing in it is for the user.
    if (held.complete) void this.#acks?.add(held);
    else this.#entries.set(held);
  }

  /** The user takes a message out of the inbox. */
  handOut(id: MessageId): void {
    this.#last = id;
    this.#entries.get(id.ledger, id.entry)?.handOut(Math.max(0, id.batchIndex));
    this.#flow.handedOut(1);
  }

  /** After messages were handed out. */
  refill(): void {
    this.#flow.refill();
  }

  ack(id: MessageId): AckResult | "recorded" | Promise<AckResult> {
    if (this.#reader) return this.#closed === undefined ? "confirmed" : "lost";
    const held = this.#held(id);
    if (held === undefined) return "lost";
    held.acknowledge(Math.max(0, id.batchIndex));
    if (held.complete) this.#entries.delete(held);
    else if (!this.#options.settings.batchIndexAck) return "recorded";
    return (this.#acks as Acks).add(held);
  }

  /** The entry of a message that the user has. */
  #held(id: MessageId): Entry | undefined {
    const held = this.#entries.get(id.ledger, id.entry);
    return held?.isOut(Math.max(0, id.batchIndex)) ? held : undefined;
  }

  /**
   * Gives a message back. The broker takes back whole entries only, and on a subscription that is not shared all of them: what it would take
   * from the user, or deliver again although it is acknowledged, is given to the user again from here.
   */
  giveBack(id: MessageId): void {
    const held = this.#held(id);
    if (held === undefined) return;
    const { type, inbox, id: consumerId } = this.#options;
    if (id.batchIndex >= 0 || type === "exclusive" || type === "failover") {
      const again = held.takeBack(Math.max(0, id.batchIndex));
      if (again !== undefined) {
        this.#flow.handedOut(-1);
        inbox.addAgain(again);
      }
      return;
    }
    this.#entries.delete(held);
    if (this.#redeliver.push(held) > 1) return;
    process.nextTick(() => {
      const places = this.#redeliver.splice(0).flatMap((one) => one.places);
      this.#connection?.write(redeliverFrame(consumerId, places));
    });
  }

  active(active: boolean): void {
    if (!active) this.#void();
    this.#options.active?.(this.#options.partition, active);
  }

  /** The broker gives everything to somebody else. */
  #void(): void {
    this.#entries.clear();
    this.#chunks.clear();
    this.#doubtful = undefined;
    this.#flow.dropped();
    this.#options.inbox.drop(this.#options.partition);
  }

  detached(error: PulsarError): void {
    this.#early = error;
    if (this.#connection === undefined) return;
    this.#connection = undefined;
    this.#acks?.end(error);
    this.#void();
    if (!this.#revival.begin(error)) this.#end(error);
  }

  #end(error: PulsarError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#revival.stop();
    if (this.#connection !== undefined) this.#leave(this.#connection);
    this.#connection = undefined;
    this.#entries.clear();
    this.#options.ended(error);
  }

  /** The connection, or why there is none. */
  #live(): Connection {
    if (this.#connection === undefined) throw this.#closed ?? localError("Closed", "The consumer was closed.");
    return this.#connection;
  }

  /** The last message stored, `undefined` where there is none. */
  async lastMessageId(signal: AbortSignal): Promise<MessageId | undefined> {
    const { lastMessageId } = await this.#positions(signal);
    const id = fromMessageIdData(lastMessageId as NonNullable<typeof lastMessageId>);
    return id.entry < 0 ? undefined : { ...id, partition: this.#options.partition };
  }

  /** The entry behind which the broker would go on. */
  async floor(signal: AbortSignal): Promise<MessageId> {
    const { consumerMarkDeletePosition: told } = await this.#positions(signal);
    const { ledger, entry } = told === undefined ? { ledger: -1, entry: -1 } : fromMessageIdData(told);
    return { ledger, entry, partition: this.#options.partition, batchIndex: -1 };
  }

  #positions(signal: AbortSignal): Promise<Answer<"getLastMessageIdResponse">> {
    const { id: consumerId } = this.#options;
    return this.#live().request("getLastMessageIdResponse", signal, (requestId) => ({
      case: "getLastMessageId",
      value: { consumerId, requestId },
    }));
  }

  async seek(to: StartPoint, signal: AbortSignal): Promise<void> {
    const { id: consumerId, partition } = this.#options;
    const target = seekTarget(to, partition);
    await this.#live().request("success", signal, (requestId) => ({ case: "seek", value: { consumerId, requestId, ...target } }));
  }

  async unsubscribe(signal: AbortSignal): Promise<void> {
    const { id: consumerId } = this.#options;
    await this.#live().request("success", signal, (requestId) => ({ case: "unsubscribe", value: { consumerId, requestId } }));
  }

  /** Bounded, never rejects. */
  async close(): Promise<void> {
    if (this.#closed !== undefined) return;
    this.#closed = localError("Closed", "The consumer was closed.");
    this.#revival.stop();
    this.#entries.clear();
    const connection = this.#connection;
    if (connection === undefined) return;
    this.#connection = undefined;
    const { id: consumerId, settings } = this.#options;
    this.#acks?.flush();
    connection.detach(consumerId);
    const goodbye = (signal: AbortSignal): Promise<unknown> =>
      connection.request("success", signal, (requestId) => ({ case: "closeConsumer", value: { consumerId, requestId } }));
    await bounded(settings.clock, CLOSE_MS, "The broker did not confirm.", goodbye).catch(() => {});
  }
}
