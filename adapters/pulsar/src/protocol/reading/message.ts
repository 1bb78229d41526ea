import { isUtf8 } from "node:buffer";
import type { Place, Shard, WireDelivery, WireHeader, WireRecord } from "brokerkit/driver";
import { placeOf, spotOfId } from "../../mapping.ts";
import type { IncomingMessage, OutgoingMessage } from "../../transport.ts";

const ID = "brokerkit-id";
const FAILURES = "brokerkit-failures";
/** Epoch ms: brokers may hand out a delayed message up to a tick early. */
const DUE = "brokerkit-due";
/** Stands before names that are ours. */
const ESCAPED = "brokerkit-x-";
const OURS = /^brokerkit-(id$|failures$|due$|x-)/;
/** Stands before values that are no UTF-8 text, in base 64. */
const ENCODED = "=?b64?";
const NOTHING: Uint8Array = Buffer.alloc(0);
const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);

export function encode(record: WireRecord, now: number): OutgoingMessage {
  const { id, key, headers, body, publishedAt, failures, delayMs = 0 } = record;
  const properties: [string, string][] = [[ID, id]];
  if (failures !== undefined) properties.push([FAILURES, String(failures)]);
  for (const [name, value] of headers) properties.push([OURS.test(name) ? ESCAPED + name : name, textOf(value)]);
  const message = { payload: body ?? NOTHING, nullValue: body === null, key, properties, eventTime: Math.trunc(publishedAt) };
  if (delayMs <= 0) return message;
  const deliverAt = Math.ceil(now + delayMs);
  properties.push([DUE, String(deliverAt)]);
  return { ...message, deliverAt };
}

function textOf(value: Uint8Array): string {
  const bytes = Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  const text = isUtf8(bytes) ? bytes.toString() : undefined;
  return text === undefined || text.startsWith(ENCODED) ? ENCODED + bytes.toString("base64") : text;
}

function bytesOf(text: string): Buffer {
  return text.startsWith(ENCODED) ? Buffer.from(text.slice(ENCODED.length), "base64") : Buffer.from(text);
}

/** One delivered message, ours or of anybody; `message` is what it is settled by. */
export class PulsarDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly message: IncomingMessage;
  readonly inbox: boolean;
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly leaseUntil: number = Number.POSITIVE_INFINITY;
  /** Not before then, epoch ms. */
  readonly due: number;
  settled = false;

  constructor(shard: Shard, inbox: boolean, message: IncomingMessage) {
    const { properties, nullValue, payload, key, publishTime, eventTime, redeliveries } = message;
    this.shard = shard;
    this.message = message;
    this.inbox = inbox;
    this.key = key;
    this.body = nullValue ? null : payload;
    this.deliveries = redeliveries + 1;
    const first = properties[0];
    if (properties.length === 1 && first?.[0] === ID) {
      this.id = first[1];
      this.headers = NO_HEADERS;
      this.failures = 0;
      this.due = 0;
    } else {
      const own = new Map(properties.filter(([name]) => OURS.test(name)));
      this.id = own.get(ID);
      this.failures = Number(own.get(FAILURES)) || 0;
      this.due = Number(own.get(DUE)) || 0;
      this.headers = properties.length === 0 ? NO_HEADERS : headersOf(properties, this.id !== undefined);
    }
    this.publishedAt = this.id === undefined ? publishTime : (eventTime ?? publishTime);
  }

  get place(): Place {
    return placeOf(this.shard.id, spotOfId(this.message.id));
  }
}

/** What others have written stays as it is, whatever it looks like. */
function headersOf(properties: IncomingMessage["properties"], ours: boolean): WireHeader[] {
  if (!ours) return properties.map(([name, value]) => [name, Buffer.from(value)]);
  const headers: WireHeader[] = [];
  for (const [name, value] of properties) {
    if (name.startsWith(ESCAPED)) headers.push([name.slice(ESCAPED.length), bytesOf(value)]);
    else if (!OURS.test(name)) headers.push([name, bytesOf(value)]);
  }
  return headers;
}
