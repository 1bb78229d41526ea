import { randomBytes } from "node:crypto";
import type { Clock } from "brokerkit/driver";
import { driverError, type SettleResult, type Shard, type SubscribeRequest, type Subscription, type WireDelivery } from "brokerkit/driver";
import { type Link, pairs, type Reply } from "../client.ts";
import { decodeFrame, foreignMessage } from "./mapping.ts";
import { counterKey } from "./publisher.ts";

/** What a message costs beside its bytes. */
const OBJECT_BYTES = 256;

/** One channel of the server and everybody here who listens to it. It knows the number of the next message that should come. */
export class Channel {
  readonly name: string;
  readonly listeners: Set<ChannelSubscription> = new Set();
  readonly #clock: Clock;
  readonly #shard: Shard = { id: "0" };
  /** Of the server's counter; `undefined` while nothing was ever published. */
  #epoch: string | undefined;
  #next: number | undefined;
  /** Nobody asks for numbers here, or may not. */
  readonly #plain: boolean;
  /** Somebody publishes without numbers, so that nobody knows what was missed of that. */
  #foreign = false;
  #attached = false;
  #connection = "";
  #foreigners = 0;
  /** Resolves when the server delivers the channel. */
  ready: Promise<void> = Promise.resolve();

  constructor(name: string, clock: Clock, plain: boolean) {
    this.name = name;
    this.#clock = clock;
    this.#plain = plain;
  }

  /** Begins to listen, or again after the connection was lost: then what was published meanwhile is counted. */
  attach(link: Link): Promise<void> {
    const again = this.#attached;
    this.#attached = true;
    this.#connection = randomBytes(6).toString("base64url");
    this.#foreigners = 0;
    // Both in one write: the server does nothing in between, so that the count is that of the moment of subscribing.
    const counted = this.#plain ? undefined : link.call(["HGETALL", counterKey(this.name)]);
    const subscribed = link.subscribe(this.name, this.#hear);
    counted?.catch(() => {});
    this.ready = subscribed.then(async () => this.#counted(await counted, again));
    this.ready.catch(() => {});
    return this.ready;
  }

  /** Nobody here listens any more. Whether the server has heard it makes no difference. */
  detach(link: Link): void {
    link.unsubscribe(this.name, this.#hear).catch(() => {});
  }

  #counted(reply: Reply | undefined, again: boolean): void {
    if (reply === undefined) return this.#moveTo(undefined, undefined, again ? undefined : 0);
    const counter = pairs(reply);
    const [epoch, count] = [counter.get("epoch"), Number(counter.get("count") ?? 0)];
    const known = epoch === undefined ? undefined : String(epoch);
    if (!again) {
      // A frame may have come before this answer was looked at.
      this.#next ??= count + 1;
      this.#epoch ??= known;
    } else if (this.#foreign || (this.#epoch !== undefined && this.#epoch !== known)) {
      this.#moveTo(known, known === this.#epoch ? Math.max(count + 1, this.#next ?? 0) : count + 1, undefined);
    } else if (count + 1 > (this.#next ?? 0)) {
      this.#moveTo(known, count + 1, count + 1 - (this.#next ?? 0));
    }
  }

  /** The next message is this one, where that is known; what lies between is missing, `undefined` where nobody knows how much. */
  #moveTo(epoch: string | undefined, next: number | undefined, missing: number | undefined): void {
    this.#epoch = epoch;
    this.#next = next;
    if (missing === undefined || missing > 0) for (const listener of this.listeners) listener.missed(missing);
  }

  readonly #hear = (bytes: Buffer): void => {
    const frame = decodeFrame(bytes, this.#shard);
    if (frame === undefined) {
      this.#foreign = true;
      this.#foreigners++;
      const message = foreignMessage(bytes, this.#shard, `${this.#connection}-${this.#foreigners}`, this.#clock.now());
      for (const listener of this.listeners) listener.push([message], bytes.length);
      return;
    }
    const { epoch, first, messages } = frame;
    const after = first + messages.length;
    if (this.#next === undefined) this.#moveTo(epoch, after, 0);
    else if (this.#epoch !== undefined && this.#epoch !== epoch) this.#moveTo(epoch, after, undefined);
    else this.#moveTo(epoch, Math.max(after, this.#next), first - this.#next);
    for (const listener of this.listeners) listener.push(messages, bytes.length);
  };
}

/** One reader of a channel. Messages wait here, within bounds; beyond them the oldest are dropped and counted. */
export class ChannelSubscription implements Subscription {
  readonly created = true;
  readonly #events: SubscribeRequest["events"];
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #left: (subscription: ChannelSubscription) => void;
  /** Messages that wait, with their share of bytes; those before `#head` are gone. */
  #queue: { readonly message: WireDelivery; readonly bytes: number }[] = [];
  #head = 0;
  #bytes = 0;
  #wake: (() => void) | undefined;
  #dead: unknown;

  constructor(request: SubscribeRequest, clock: Clock, limit: number, left: (subscription: ChannelSubscription) => void) {
    this.#events = request.events;
    this.#clock = clock;
    this.#limit = limit;
    this.#left = left;
  }

  push(messages: readonly WireDelivery[], size: number): void {
    const bytes = size / messages.length + OBJECT_BYTES;
    for (const message of messages) this.#queue.push({ message, bytes });
    this.#bytes += bytes * messages.length;
    let dropped = 0;
    // One message is always kept, however large.
    while (this.#bytes > this.#limit && this.#queue.length - this.#head > 1) {
      this.#shift();
      dropped++;
    }
    if (dropped > 0) this.missed(dropped);
    this.#wake?.();
  }

  missed(missing: number | undefined): void {
    this.#events.dataLoss("0", undefined, undefined, missing);
  }

  state(state: "up" | "down", error?: unknown): void {
    this.#events.state("0", state, error);
  }

  fail(error: unknown): void {
    this.#dead ??= error;
    this.#wake?.();
  }

  #shift(): WireDelivery | undefined {
    const first = this.#queue[this.#head];
    if (first === undefined) return undefined;
    this.#bytes -= first.bytes;
    this.#head++;
    if (this.#head === this.#queue.length || this.#head > 10_000) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return first.message;
  }

  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    if (this.#queue.length === 0 && this.#dead === undefined && !signal.aborted) await this.#wait(waitMs, signal);
    const taken: WireDelivery[] = [];
    while (taken.length < max) {
      const message = this.#shift();
      if (message === undefined) break;
      taken.push(message);
    }
    if (taken.length === 0 && this.#dead !== undefined) throw this.#dead;
    return taken;
  }

  #wait(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.cancel();
        signal.removeEventListener("abort", done);
        this.#wake = undefined;
        resolve();
      };
      const timer = this.#clock.timer(ms, done);
      signal.addEventListener("abort", done, { once: true });
      this.#wake = done;
    });
  }

  /** Nothing of it is on the server, so nothing is settled there. */
  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "recorded");
  }

  async flush(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#dead === CLOSED) return;
    this.fail(CLOSED);
    this.#queue = [];
    this.#head = 0;
    this.#left(this);
  }
}

const CLOSED = driverError("CLOSED", "The subscription is closed. Subscribe again.");
