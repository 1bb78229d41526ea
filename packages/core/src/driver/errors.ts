/** The closed list of error codes. docs/errors.md explains each; a test ties the two together. */
export type ErrorCode =
  | "UNSUPPORTED"
  | "INVALID_ARGUMENT"
  | "INVALID_PAYLOAD"
  | "ADAPTER_MISSING"
  | "NOT_FOUND"
  | "UNAUTHENTICATED"
  | "FORBIDDEN"
  | "TOO_LARGE"
  | "QUOTA_EXCEEDED"
  | "UNAVAILABLE"
  | "TIMEOUT"
  | "DECODE"
  | "DATA_LOSS"
  | "GROUP_ACTIVE"
  | "LOST_OWNERSHIP"
  | "ALREADY_SETTLED"
  | "PARTIAL"
  | "ABORTED"
  | "CLOSED"
  | "INTERNAL";

/** What `Driver.classify` says of a raw error. `retryable`: the same call may succeed later without any change. */
export interface Classified {
  readonly code: ErrorCode;
  readonly retryable: boolean;
}

/** An error that a driver raises where its client has none. Core turns it into a `BrokerError` of the same code. */
export interface DriverError extends Error {
  readonly driverCode: ErrorCode;
  readonly members?: readonly string[] | undefined;
}

/**
 * Makes a `DriverError`: the way for a driver to fail with a code of its own choosing.
 * `text` says what happened and what to do next, without secrets; `more.members` lists who keeps a group active (`GROUP_ACTIVE`).
 */
export function driverError(
  code: ErrorCode,
  text: string,
  more: { readonly cause?: unknown; readonly members?: readonly string[] | undefined } = {},
): DriverError {
  const options = more.cause === undefined ? undefined : { cause: more.cause };
  return Object.assign(new Error(text, options), { name: "DriverError", driverCode: code, members: more.members });
}
