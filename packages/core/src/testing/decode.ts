import { resolveCodec } from "../codec/codec.ts";
import type { TopicDefinition } from "../definition.ts";
import { BrokerError, invalidArgument } from "../errors.ts";
import { issuesText, type Out, type Schema } from "../schema.ts";

/** Throws `INVALID_ARGUMENT` unless `topic` is a definition: a name alone has no schema to make or read messages by. */
export function checkDefined(where: string, topic: TopicDefinition): void {
  if (typeof topic?.schema?.["~standard"]?.validate === "function") return;
  const got = typeof topic === "string" ? `the name "${String(topic).slice(0, 80)}"` : topic === null ? "null" : typeof topic;
  throw invalidArgument("topic", `${where} takes a topic made by defineTopic, got ${got}.`);
}

/** A payload's body, as `publish` would send it: checked by the schema, and null for a tombstone. Throws as `decodePayload` does. */
export function encodePayload(topic: TopicDefinition, payload: unknown): Uint8Array | null {
  // Not `publish`'s rule: any other publisher's tombstone reaches handlers too.
  if (payload === null) return null;
  validate(topic, payload);
  return resolveCodec(topic.codec).encode(payload);
}

/**
 * What a handler would get for a body, at once. Throws `INVALID_PAYLOAD` for what the schema refuses, `DECODE` for what the codec does,
 * and `INVALID_ARGUMENT` for a topic whose schema answers asynchronously.
 */
export function decodePayload<S extends Schema>(topic: TopicDefinition<S>, body: Uint8Array | null): Out<S> {
  return (body === null ? null : validate(topic, decodeBody(topic, body))) as Out<S>;
}

function validate(topic: TopicDefinition, value: unknown): unknown {
  const verdict = topic.schema["~standard"].validate(value);
  if (verdict instanceof Promise) {
    verdict.catch(() => {});
    throw invalidArgument(
      "schema",
      `The schema of "${topic.name}" is asynchronous, so its messages can't be made or read at once. Subscribe instead.`,
    );
  }
  if (verdict.issues === undefined) return verdict.value;
  throw new BrokerError("INVALID_PAYLOAD", `The schema of "${topic.name}" refuses the payload: ${issuesText(verdict.issues)}.`, {
    details: { issues: verdict.issues },
    topic: topic.name,
  });
}

function decodeBody(topic: TopicDefinition, body: Uint8Array): unknown {
  try {
    return resolveCodec(topic.codec).decode(body);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new BrokerError("DECODE", `The codec of "${topic.name}" can't read the body: ${why}`, {
      details: undefined,
      topic: topic.name,
      cause,
    });
  }
}
