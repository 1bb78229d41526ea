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

function sequenceOf(text: string | undefined): Sequence | undefined {
  const space = text?.indexOf(" ") ?? -1;
  if (text === undefined || space === -1) return undefined;
  const number = Number(text.slice(space + 1));
  return number > 0 ? { epoch: text.slice(0, space), number } : undefined;
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

  /** `own` tells of messages that say neither their id nor their time. */
  constructor(shard: Shard, message: Message, own: { readonly id: () => string; readonly now: () => number }) {
    const decoded = decode(message.headers, message.body);
    this.shard = shard;
    this.id = decoded.id ?? own.id();
    this.key = decoded.key;
    this.headers = decoded.headers;
    this.body = decoded.body;
    this.publishedAt = decoded.publishedAt ?? own.now();
    this.sequence = sequenceOf(decoded.sequence);
    this.bytes = (message.headers?.length ?? 0) + message.body.length + OBJECT_BYTES;
  }
}

/** What a message costs beside its bytes. */
const OBJECT_BYTES = 512;
