import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
const FULL: Classified = { code: "QUOTA_EXCEEDED", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

/** AMQP's own reply codes: https://www.rabbitmq.com/amqp-0-9-1-reference#constants */
export const NO_ROUTE = 312;
export const ACCESS_REFUSED = 403;
export const MISSING = 404;
export const LOCKED = 405;
export const DIFFERENT = 406;
const RESOURCE_ERROR = 506;
const REPLIES: Readonly<Record<number, Classified>> = {
  311: fatal("TOO_LARGE"),
  [NO_ROUTE]: fatal("NOT_FOUND"),
  313: OUTAGE, // no consumers
  320: OUTAGE, // connection forced: a shutdown, or an operator
  402: fatal("INVALID_ARGUMENT"), // invalid path
  [ACCESS_REFUSED]: fatal("FORBIDDEN"),
  [MISSING]: fatal("NOT_FOUND"),
  [LOCKED]: OUTAGE, // somebody's exclusive queue
  [DIFFERENT]: fatal("INVALID_ARGUMENT"),
  501: OUTAGE, // frame error
  502: fatal("INVALID_ARGUMENT"),
  503: fatal("INVALID_ARGUMENT"),
  504: OUTAGE, // channel error
  505: OUTAGE, // unexpected frame
  [RESOURCE_ERROR]: FULL,
  530: fatal("FORBIDDEN"),
  540: fatal("UNSUPPORTED"),
  541: OUTAGE, // internal error of the server, such as a queue without a leader
};

/** The server that has the queue is away, or still starting. */
const OUT_OF_REACH = /is down or inaccessible/;

/** By text, before the number is looked at: one number has several meanings. */
const TEXTS: readonly (readonly [RegExp, Classified])[] = [
  [OUT_OF_REACH, OUTAGE],
  [/ACCESS[_-]REFUSED - Login|authentication mechanism|SASL mechanism/i, fatal("UNAUTHENTICATED")],
  [/vhost .*is down/i, OUTAGE],
  [/NOT_ALLOWED - .*(limit|maximum)/i, FULL],
  [/larger than configured max size|exceeds the \d+ byte encoding buffer/i, fatal("TOO_LARGE")],
  [/delivery acknowledgement .*timed out/i, OUTAGE],
];

/** The client's own words, where no server has said anything. */
const ENDED = /Socket closed abruptly|Unexpected close|Heartbeat timeout|(channel|connection) (closed|closing|ended)|connect ETIMEDOUT/i;

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*|ABORT_ERR)$/;

/** By the driver's own code, the server's text and reply code, or Node's error code; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  if (!(error instanceof Error)) return fatal("INTERNAL");
  const { driverCode } = error as Partial<DriverError>;
  if (driverCode !== undefined) return { code: driverCode, retryable: ["UNAVAILABLE", "TIMEOUT", "QUOTA_EXCEEDED"].includes(driverCode) };
  const { code } = error as { code?: unknown };
  if (typeof code === "string") {
    if (CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
    if (code.startsWith("ERR_INVALID_ARG")) return fatal("INTERNAL");
    if (NETWORK.test(code)) return OUTAGE;
  }
  const said = TEXTS.find(([pattern]) => pattern.test(error.message))?.[1];
  if (said !== undefined) return said;
  // While it is opened, the client puts the server's number into the text only.
  const number = typeof code === "number" ? code : Number(/\b([2-5]\d\d) \([A-Z-]+\)/.exec(error.message)?.[1]);
  return REPLIES[number] ?? (!(number > 0) && ENDED.test(error.message) ? OUTAGE : fatal("INTERNAL"));
}

/** The server says that there is no such thing. It gives the same number for what is only out of reach. */
export function isMissing(error: unknown): boolean {
  return replyCode(error) === MISSING && !isOutOfReach(error);
}

/** The server that has the queue is away, or still starting. */
export function isOutOfReach(error: unknown): boolean {
  return error instanceof Error && OUT_OF_REACH.test(error.message);
}

/** The reply code of an error of the server's, if it is one. */
export function replyCode(error: unknown): number | undefined {
  const { code } = Object(error) as { code?: unknown };
  return typeof code === "number" ? code : undefined;
}

/** The link is gone or was never there: nothing was sent by this call. */
export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", what, { cause });
}

/** The server has no room, for as long as it lasts: AMQP's own code for that, although it does not say so itself. */
export function noRoom(what: string): Error {
  return Object.assign(new Error(what), { code: RESOURCE_ERROR });
}

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `There is no exchange for the topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}

export function logMissing(topic: string): DriverError {
  return driverError("UNSUPPORTED", `The topic "${topic}" was made without a log, so there is nothing to replay or to follow.`);
}
