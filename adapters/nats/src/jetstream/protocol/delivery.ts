import type { Place, Shard, WireDelivery, WireHeader } from "brokerkit/driver";
import { decode } from "../../mapping.ts";
import type { Message } from "../../protocol/parser.ts";
import { MAIN, placeOf } from "../mapping.ts";
import { type Numbers, numbersOf } from "./api.ts";

/** A message that a consumer has handed out. */
export class StreamDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly place: Place;
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  leaseUntil: number;
  /** Where it is settled. */
  readonly reply: string;
  readonly numbers: Numbers;
  /** How long it was to be kept back, from when it was stored. */
  readonly delayMs: number;
  /** What the server was asked for, for good; `done` when it has answered. */
  settled: "no" | "ack" | "nack" | "done" = "no";
  /** The lease is to be extended here until then (monotonic ms). */
  keepUntil = 0;

  constructor(shard: Shard, message: Message, leaseUntil: number) {
    const numbers = numbersOf(message.reply);
    const { id, key, headers, body, publishedAt, failures, delayMs } = decode(message.headers, message.body);
    this.shard = shard;
    this.place = placeOf(shard.id, numbers.stream);
    this.id = id;
    this.key = key;
    this.headers = headers;
    this.body = body;
    this.publishedAt = publishedAt ?? numbers.storedAt;
    // One that was kept back was delivered once more than anybody saw.
    this.deliveries = delayMs > 0 ? Math.max(1, numbers.deliveries - 1) : numbers.deliveries;
    this.failures = failures;
    this.inbox = shard.id !== MAIN;
    this.leaseUntil = leaseUntil;
    this.reply = message.reply;
    this.numbers = numbers;
    this.delayMs = delayMs;
  }
}
