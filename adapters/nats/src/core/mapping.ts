import type { Shard, WireDelivery, WireHeader } from "brokerkit/driver";
import { decode } from "../mapping.ts";
import type { Message } from "../protocol/parser.ts";

/** Topics hold no `=`, so an empty token, which a subject may not have, is written so. */
export function subjectOf(prefix: string, topic: string): string {
  return (prefix + topic)
    .split(".")
    .map((token) => (token === "" ? "=" : token))
    .join(".");
}

/** The how manieth message of which publisher a message is; `undefined`: a publisher that does not count. */
export interface Sequence {
  readonly epoch: string;
  readonly number: number;
}

export class CoreDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly place = undefined;
  readonly id: string;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries = 1;
  readonly failures = 0;
  readonly inbox = false;
  readonly leaseUntil: number = Number.POSITIVE_INFINITY;
  readonly sequence: Sequence | undefined;
  /** What it costs to keep. */
  readonly bytes: number;

  /** `id` and `now` are for messages that say neither. */
  constructor(shard: Shard, message: Message, id: string, now: number) {
    const decoded = decode(message.headers, message.body);
    this.shard = shard;
    this.id = decoded.id ?? id;
    this.key = decoded.key;
    this.headers = decoded.headers;
    this.body = decoded.body;
    this.publishedAt = decoded.publishedAt ?? now;
    const [epoch, number] = decoded.sequence?.split(" ") ?? [];
    this.sequence = epoch === undefined || !(Number(number) > 0) ? undefined : { epoch, number: Number(number) };
    this.bytes = (message.headers?.length ?? 0) + message.body.length + OBJECT_BYTES;
  }
}

/** What a message costs beside its bytes. */
const OBJECT_BYTES = 512;
