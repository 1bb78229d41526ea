import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
const FULL: Classified = { code: "QUOTA_EXCEEDED", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

/** The text of a server's `-ERR`. */
export class ServerError extends Error {
  override readonly name = "NatsServerError";
}

/** JetStream's answer to a request that it refuses. */
export class ApiError extends Error {
  override readonly name = "JetStreamError";
  readonly status: number;
  /** JetStream's own number, the same in all versions: `server/errors.json` of nats-server. */
  readonly number: number;

  constructor(status: number, number: number, text: string) {
    super(text);
    this.status = status;
    this.number = number;
  }
}

export const STREAM_NOT_FOUND = 10_059;
export const STREAM_EXISTS = 10_058;
export const STREAM_OVERLAPS = 10_065;
export const CONSUMER_NOT_FOUND = 10_014;
export const MESSAGE_NOT_FOUND = 10_037;
export const WRONG_LAST_SEQUENCE = 10_071;

const SERVER: readonly (readonly [RegExp, Classified])[] = [
  [/^(Authorization Violation|User Authentication|Account Authentication)/i, fatal("UNAUTHENTICATED")],
  [/^Permissions Violation/i, fatal("FORBIDDEN")],
  [/^Maximum Payload/i, fatal("TOO_LARGE")],
  [/^(Invalid Subject|Invalid Publish Subject)/i, fatal("INVALID_ARGUMENT")],
  [/^maximum subscriptions/i, FULL],
  [/^(maximum (account )?(active )?connections|Stale Connection|Slow Consumer|Server Shutdown|Authentication Timeout)/i, OUTAGE],
];

const API: Readonly<Record<number, Classified>> = {
  [STREAM_NOT_FOUND]: fatal("NOT_FOUND"),
  [CONSUMER_NOT_FOUND]: fatal("NOT_FOUND"),
  [MESSAGE_NOT_FOUND]: fatal("NOT_FOUND"),
  [STREAM_EXISTS]: fatal("INVALID_ARGUMENT"),
  [STREAM_OVERLAPS]: fatal("INVALID_ARGUMENT"),
  10002: FULL, // resource limits of the account
  10023: FULL, // resources of the server
  10026: FULL, // consumers
  10027: FULL, // streams
  10028: FULL, // memory
  10047: FULL, // storage
  10053: fatal("TOO_LARGE"), // headers
  10054: fatal("TOO_LARGE"), // the stream's own limit of one message
  10039: fatal("UNSUPPORTED"), // no JetStream in this account
  10074: fatal("INVALID_ARGUMENT"), // replicas without a cluster
  10076: fatal("UNSUPPORTED"), // no JetStream at all
  10008: OUTAGE,
  10009: OUTAGE,
};

/** What a stream says that is full, whatever number stands before it. */
const NO_ROOM = /maximum (messages|bytes|consumers|active)|insufficient|no space|resource limits/i;

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*)$/;

/** By the driver's own code, the server's text, JetStream's number, or Node's error code; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  if (!(error instanceof Error)) return fatal("INTERNAL");
  const { driverCode } = error as Partial<DriverError>;
  if (driverCode !== undefined) return { code: driverCode, retryable: driverCode === "UNAVAILABLE" || driverCode === "TIMEOUT" };
  if (error instanceof ServerError) return SERVER.find(([pattern]) => pattern.test(error.message))?.[1] ?? OUTAGE;
  if (error instanceof ApiError) {
    const known = API[error.number];
    if (known !== undefined) return known;
    if (NO_ROOM.test(error.message)) return FULL;
    if (error.status === 503) return OUTAGE;
    return fatal(error.status === 404 ? "NOT_FOUND" : error.status === 400 ? "INVALID_ARGUMENT" : "INTERNAL");
  }
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string") {
    if (CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
    if (code.startsWith("ERR_INVALID_ARG")) return fatal("INTERNAL");
    if (NETWORK.test(code)) return OUTAGE;
  }
  return fatal("INTERNAL");
}

/** The link is gone or was never there: nothing was sent by this call. */
export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", what, { cause });
}

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `There is no stream for the topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}
