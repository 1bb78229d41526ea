import type { BoundTopic } from "../definition.ts";
import { BrokerError } from "../errors.ts";
import { issuesText, type SchemaIssue } from "../schema.ts";

/** A body that no handler can be given. */
export class Undecodable {
  readonly reason: "decode" | "schema";
  readonly error: unknown;

  constructor(reason: "decode" | "schema", error: unknown) {
    this.reason = reason;
    this.error = error;
  }
}

/** A body as handlers see it, or why not; never throws, and a promise only for an async schema. A tombstone is decoded and validated by nobody. */
export function decodePayload(topic: BoundTopic, body: Uint8Array | null): unknown | Undecodable | Promise<unknown> {
  if (body === null) return null;
  let decoded: unknown;
  try {
    decoded = topic.codec.decode(body);
  } catch (cause) {
    const text = `The body of a message of "${topic.name}" can't be decoded: ${cause instanceof Error ? cause.message : String(cause)}`;
    return new Undecodable("decode", new BrokerError("DECODE", text, { details: undefined, topic: topic.name, cause }));
  }
  if (topic.schema === undefined) return decoded;
  try {
    const verdict = topic.schema["~standard"].validate(decoded);
    if (!(verdict instanceof Promise)) return verdict.issues === undefined ? verdict.value : misfit(topic, verdict.issues);
    return verdict.then(
      (result) => (result.issues === undefined ? result.value : misfit(topic, result.issues)),
      (error: unknown) => new Undecodable("schema", error),
    );
  } catch (error) {
    return new Undecodable("schema", error);
  }
}

function misfit(topic: BoundTopic, issues: readonly SchemaIssue[]): Undecodable {
  const text = `A message of "${topic.name}" does not fit its schema: ${issuesText(issues)}`;
  return new Undecodable("schema", new BrokerError("INVALID_PAYLOAD", text, { details: { issues }, topic: topic.name }));
}
