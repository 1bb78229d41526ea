import type { Driver } from "./driver/driver.ts";
import type { ErrorCode as DriverCode, DriverError } from "./driver/errors.ts";
import type { Place } from "./driver/wire.ts";
import type { Receipt } from "./message.ts";
import type { SchemaIssue } from "./schema.ts";

/** What `details` holds, per code. */
export interface ErrorDetails {
  UNSUPPORTED: { readonly capability: string; readonly supportedBy: readonly string[] };
  INVALID_ARGUMENT: { readonly argument: string };
  INVALID_PAYLOAD: { readonly issues: readonly SchemaIssue[] };
  ADAPTER_MISSING: { readonly scheme: string; readonly install: string };
  NOT_FOUND: undefined;
  UNAUTHENTICATED: undefined;
  FORBIDDEN: undefined;
  TOO_LARGE: { readonly bytes: number; readonly maxBytes: number };
  QUOTA_EXCEEDED: undefined;
  UNAVAILABLE: undefined;
  TIMEOUT: undefined;
  DECODE: undefined;
  DATA_LOSS: { readonly from: Place | undefined; readonly to: Place | undefined };
  GROUP_ACTIVE: { readonly members: readonly string[] };
  LOST_OWNERSHIP: undefined;
  ALREADY_SETTLED: undefined;
  PARTIAL: { readonly results: readonly (Receipt | BrokerError)[] };
  ABORTED: undefined;
  CLOSED: undefined;
  INTERNAL: undefined;
}

/** The closed list of error codes; docs/errors.md explains each. */
export type ErrorCode = keyof ErrorDetails & DriverCode;

/** Every code, in the order of docs/errors.md. */
export const ERROR_CODES: readonly ErrorCode[] = Object.freeze([
  "UNSUPPORTED",
  "INVALID_ARGUMENT",
  "INVALID_PAYLOAD",
  "ADAPTER_MISSING",
  "NOT_FOUND",
  "UNAUTHENTICATED",
  "FORBIDDEN",
  "TOO_LARGE",
  "QUOTA_EXCEEDED",
  "UNAVAILABLE",
  "TIMEOUT",
  "DECODE",
  "DATA_LOSS",
  "GROUP_ACTIVE",
  "LOST_OWNERSHIP",
  "ALREADY_SETTLED",
  "PARTIAL",
  "ABORTED",
  "CLOSED",
  "INTERNAL",
] satisfies ErrorCode[]);

export interface ErrorFields<C extends ErrorCode> {
  readonly details: ErrorDetails[C];
  /** The same call may succeed later without any change. */
  readonly retryable?: boolean | undefined;
  /** It may have happened all the same: bytes may have left before the failure. */
  readonly inDoubt?: boolean | undefined;
  readonly adapter?: string | undefined;
  readonly topic?: string | undefined;
  readonly cause?: unknown;
}

// A registered symbol, so that two copies of the package recognise each other's errors.
const BRAND = Symbol.for("brokerkit.error");

/**
 * The one error class. `message` says what happened, where, and what to do next; `cause` keeps the client's own error.
 * Branch on `code` by `isBrokerError(error, "TIMEOUT")`, which also narrows `details`.
 */
export class BrokerError<C extends ErrorCode = ErrorCode> extends Error {
  override readonly name = "BrokerError";
  readonly code: C;
  readonly retryable: boolean;
  readonly inDoubt: boolean;
  readonly adapter: string | undefined;
  readonly topic: string | undefined;
  readonly details: ErrorDetails[C];

  constructor(code: C, text: string, fields: ErrorFields<C>) {
    super(text, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.code = code;
    this.retryable = fields.retryable ?? false;
    this.inDoubt = fields.inDoubt ?? false;
    this.adapter = fields.adapter;
    this.topic = fields.topic;
    this.details = fields.details;
  }

  static {
    Object.defineProperty(BrokerError.prototype, BRAND, { value: true });
  }
}

/** Narrows an unknown error to a `BrokerError`, to the given codes where any are given. Works across copies of the package. */
export function isBrokerError<C extends ErrorCode = ErrorCode>(error: unknown, ...codes: readonly C[]): error is BrokerError<C> {
  if (typeof error !== "object" || error === null || (error as { [BRAND]?: unknown })[BRAND] !== true) return false;
  return codes.length === 0 || (codes as readonly string[]).includes((error as BrokerError).code);
}

/** An `INVALID_ARGUMENT`: `argument` names the option or parameter, `text` says what is wrong with it and what is right. */
export function invalidArgument(argument: string, text: string): BrokerError<"INVALID_ARGUMENT"> {
  return new BrokerError("INVALID_ARGUMENT", text, { details: { argument } });
}

/** An `ABORTED`: the caller's signal aborted before anything was sent. */
export function abortedBefore(adapter: string, doing: string, topic: string | undefined, signal: AbortSignal): BrokerError<"ABORTED"> {
  const where = topic === undefined ? "" : ` "${topic}"`;
  const text = `[${adapter}] ${doing}${where}: its signal aborted; nothing was changed.`;
  return new BrokerError("ABORTED", text, { details: undefined, adapter, topic, cause: signal.reason });
}

/** Where an error of the backend was met, for its text and fields. */
export interface Met {
  readonly adapter: string;
  readonly doing: string;
  readonly topic?: string | undefined;
  readonly inDoubt?: boolean | undefined;
}

/** Turns a driver's raw error into a `BrokerError` by the driver's own table. A `BrokerError` stays what it is. */
export function fromDriver(driver: Pick<Driver, "classify">, error: unknown, met: Met): BrokerError {
  if (isBrokerError(error)) return error;
  const own = error as Partial<DriverError> | null | undefined;
  const { code, retryable } =
    own?.driverCode === undefined ? driver.classify(error) : { code: own.driverCode, retryable: RETRYABLE.has(own.driverCode) };
  const said = textOf(error);
  const where = met.topic === undefined ? "" : ` "${met.topic}"`;
  return new BrokerError<ErrorCode>(code, `[${met.adapter}] ${met.doing}${where}: ${said}`, {
    details: detailsOf(code, met.doing, own?.members),
    retryable,
    inDoubt: met.inDoubt,
    adapter: met.adapter,
    topic: met.topic,
    cause: error,
  });
}

/** What an error says and, where the system refused, what to look at. Of several addresses that were tried, the first speaks. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const first: unknown = error instanceof AggregateError ? error.errors[0] : undefined;
  const told = first instanceof Error && error.message === "" ? first.message : error.message;
  // Adapters that say their name themselves say it once.
  const text = told.replace(/^\[[a-z][a-z0-9+.-]*\] /, "").replace(/\.$/, "");
  const { code, address, port, hostname } = refusalIn(first ?? error);
  const host = String(address).includes(":") ? `[${address}]` : address;
  if (code === "ECONNREFUSED") return `${text}. Is the server running${address === undefined ? "" : ` at ${host}:${port}`}?`;
  if (code === "ENOTFOUND") return `${text}. Is the host${hostname === undefined ? "" : ` "${hostname}"`} spelt correctly?`;
  return told.endsWith(".") ? `${text}.` : text;
}

type Refusal = { readonly [K in "code" | "address" | "port" | "hostname"]?: unknown };

/** The system's own error, which clients wrap in theirs. */
function refusalIn(error: unknown): Refusal {
  for (let one: unknown = error, depth = 0; one instanceof Error && depth < 4; one = one.cause, depth++) {
    const refusal = one as Error & Refusal;
    if (refusal.code === "ECONNREFUSED" || refusal.code === "ENOTFOUND") return refusal;
  }
  return {};
}

const RETRYABLE: ReadonlySet<ErrorCode> = new Set<ErrorCode>(["UNAVAILABLE", "TIMEOUT"]);

/** What can be said of an error that comes from below, where only its code is known. */
function detailsOf(code: ErrorCode, doing: string, members: readonly string[] = []): ErrorDetails[ErrorCode] {
  if (code === "UNSUPPORTED") return { capability: doing, supportedBy: [] };
  if (code === "INVALID_ARGUMENT") return { argument: doing };
  if (code === "INVALID_PAYLOAD") return { issues: [] };
  if (code === "TOO_LARGE") return { bytes: Number.NaN, maxBytes: Number.NaN };
  if (code === "DATA_LOSS") return { from: undefined, to: undefined };
  if (code === "GROUP_ACTIVE") return { members };
  if (code === "PARTIAL") return { results: [] };
  return undefined;
}
