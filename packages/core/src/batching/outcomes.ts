import type { BoundTopic } from "../definition.ts";
import { BrokerError } from "../errors.ts";
import { issuesText, type SchemaResult } from "../schema.ts";

/** Throws `INVALID_PAYLOAD` for what the schema refuses. */
export function checkVerdict(topic: BoundTopic, verdict: SchemaResult<unknown> | undefined): void {
  if (verdict?.issues === undefined) return;
  throw new BrokerError(
    "INVALID_PAYLOAD",
    `The payload does not fit the schema of "${topic.name}": ${issuesText(verdict.issues)}. Nothing was sent.`,
    {
      details: { issues: verdict.issues },
      topic: topic.name,
    },
  );
}

/** The deadline passed: in doubt once bytes may have left, never just "failed". */
export function timedOut(adapter: string, topic: string, inDoubt: boolean, trouble?: BrokerError): BrokerError {
  const text = inDoubt
    ? "no confirmation in time; it may have been stored. Publish again with the same id"
    : "not sent in time; nothing was stored. The broker may be down or slow";
  return failure(
    "TIMEOUT",
    adapter,
    topic,
    trouble === undefined ? text : `${text}; the last attempt met: ${trouble.message}`,
    inDoubt,
    trouble,
  );
}

export function aborted(adapter: string, topic: string, inDoubt: boolean, reason: unknown): BrokerError {
  const text = inDoubt ? "its signal aborted; it may have been stored" : "its signal aborted before anything was sent";
  return failure("ABORTED", adapter, topic, text, inDoubt, reason);
}

export function givenUp(adapter: string, topic: string, inDoubt: boolean): BrokerError {
  return failure("CLOSED", adapter, topic, "the broker was closed before the confirmation came", inDoubt, undefined);
}

/** Why a publish that waited before it was encoded waits no longer. */
export function neverEntered(adapter: string, topic: string): (why: "late" | "aborted" | "closed", reason?: unknown) => BrokerError {
  return (why, reason) => {
    if (why === "late") return timedOut(adapter, topic, false);
    return why === "aborted" ? aborted(adapter, topic, false, reason) : givenUp(adapter, topic, false);
  };
}

function failure(
  code: "TIMEOUT" | "ABORTED" | "CLOSED",
  adapter: string,
  topic: string,
  text: string,
  inDoubt: boolean,
  cause: unknown,
): BrokerError {
  const fields = { details: undefined, retryable: code === "TIMEOUT", inDoubt, adapter, topic, cause };
  return new BrokerError(code, `[${adapter}] publish to "${topic}": ${text}.`, fields);
}
