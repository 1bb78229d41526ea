import { decodeHeaders, isReserved } from "../codec/headers.ts";
import { decodeKey } from "../codec/key.ts";
import type { TopicDefinition } from "../definition.ts";
import type { WireRecord } from "../driver/wire.ts";
import type { Message } from "../message.ts";
import type { Out, Schema } from "../schema.ts";
import { decodePayload } from "./decode.ts";

/** A record on its way to the driver as the message that a receiver would see, but without a place. */
export function publishedMessage<S extends Schema>(topic: TopicDefinition<S>, record: WireRecord): Message<Out<S>> {
  return Object.freeze({
    topic: topic.name,
    id: record.id,
    key: record.key === undefined ? undefined : decodeKey(record.key),
    keyBytes: record.key,
    headers: decodeHeaders(record.headers),
    rawHeaders: record.headers.filter(([name]) => !isReserved(name)),
    payload: decodePayload(topic, record.body),
    tombstone: record.body === null,
    publishedAt: new Date(record.publishedAt),
    place: undefined,
    replayed: false,
  });
}
