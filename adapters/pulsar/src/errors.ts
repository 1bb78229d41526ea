import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";
import { PulsarError } from "./protocol/errors.ts";
import { RestError } from "./protocol/rest-call.ts";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
const LATE: Classified = { code: "TIMEOUT", retryable: true };
const FULL: Classified = { code: "QUOTA_EXCEEDED", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

const all = (names: string, meaning: Classified): [string, Classified][] => names.split(" ").map((name) => [name, meaning]);

/** The protocol's `ServerError`, and what the transport says itself. A name that is not here is INTERNAL. */
const NAMES: ReadonlyMap<string, Classified> = new Map([
  ...all("MetadataError PersistenceError ServiceNotReady TooManyRequests ChecksumError ConnectError ConnectionLost ProtocolError", OUTAGE),
  // Somebody else's for now, or taken away a moment ago.
  ...all("ConsumerBusy ConsumerAssignError ConsumerNotFound ProducerBusy ProducerFenced Detached", OUTAGE),
  ...all("ProducerBlockedQuotaExceededError ProducerBlockedQuotaExceededException", FULL),
  ...all("AuthenticationError", fatal("UNAUTHENTICATED")),
  ...all("AuthorizationError NotAllowedError TopicTerminatedError", fatal("FORBIDDEN")),
  ...all("TopicNotFound SubscriptionNotFound", fatal("NOT_FOUND")),
  ...all("InvalidTopicName InvalidArgument", fatal("INVALID_ARGUMENT")),
  ...all("UnsupportedVersionError Unsupported", fatal("UNSUPPORTED")),
  ...all("IncompatibleSchema", fatal("INVALID_PAYLOAD")),
  ...all("MessageTooLarge", fatal("TOO_LARGE")),
  ...all("Aborted", fatal("ABORTED")),
  ...all("Closed", fatal("CLOSED")),
]);

/** Of the admin service. */
const UNAUTHORIZED = 401;
const MISSING = 404;
/** Names and numbers that are none, and what can't be done now. */
const PRECONDITION = 412;
const STATUSES: Readonly<Record<number, Classified>> = {
  // A chain of servers that sends requests on and does not end, as while topics move.
  310: OUTAGE,
  400: fatal("INVALID_ARGUMENT"),
  [UNAUTHORIZED]: fatal("UNAUTHENTICATED"),
  403: fatal("FORBIDDEN"),
  [MISSING]: fatal("NOT_FOUND"),
  // Also what a broker's settings have switched off.
  405: fatal("UNSUPPORTED"),
  // Two changes at once, or a change to what another one is ending.
  409: OUTAGE,
  [PRECONDITION]: fatal("INVALID_ARGUMENT"),
  413: fatal("TOO_LARGE"),
  429: OUTAGE,
};

/** Brokers give these as a ServerError of any name. */
const TEXTS: readonly (readonly [RegExp, Classified])[] = [
  [/(topic|namespace|tenant|subscription)\b.*\b(not found|does not exist|doesn't exist)/i, fatal("NOT_FOUND")],
  [/backlog (quota|size).*exceed/i, FULL],
  [/exceeds? (the )?max(imum)? message size|max message size/i, fatal("TOO_LARGE")],
];
/** Names that say little, so that the text is looked at. */
const VAGUE = ["UnknownError", "MetadataError", "PersistenceError", "NotAllowedError"];

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z][A-Z0-9_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*|ERR_TLS_.*|HPE_.*)$/;
const NOT_NETWORK = /^(ERR_(INVALID_|OUT_OF_RANGE|ASSERTION|UNESCAPED)|ENOENT|EACCES|EISDIR)/;
const AGAIN: readonly ErrorCode[] = ["UNAVAILABLE", "TIMEOUT", "QUOTA_EXCEEDED"];

/** By the driver's own code, the protocol's name, the admin service's status, or Node's error code; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  if (!(error instanceof Error)) return fatal("INTERNAL");
  const { driverCode } = error as Partial<DriverError>;
  if (driverCode !== undefined) return { code: driverCode, retryable: AGAIN.includes(driverCode) };
  if (error instanceof PulsarError) return serverMeaning(error);
  if (error instanceof RestError) return restMeaning(error);
  if (error.name === "AbortError") return fatal("ABORTED");
  if (error.name === "TimeoutError") return LATE;
  return networkMeaning(error) ?? fatal("INTERNAL");
}

function restMeaning({ status, reason }: RestError): Classified {
  // The same number as for somebody unknown, who does not get as far as the service.
  if (status === UNAUTHORIZED && reason !== "") return fatal("FORBIDDEN");
  // A broker that starts or stops has no topics of its own.
  if (status === PRECONDITION && /find (an )?owner|not (ready|served)|unavailable/i.test(reason)) return OUTAGE;
  return STATUSES[status] ?? (status >= 500 ? OUTAGE : fatal("INTERNAL"));
}

/** A certificate that is refused is the cause of a connection that failed. */
function serverMeaning(error: PulsarError): Classified {
  if (error.code === "ConnectError" || error.code === "ConnectionLost") return refused(error.cause) ?? OUTAGE;
  // A time limit of ours, which is its signal's reason; a caller's reason is the caller's own error.
  if (error.code === "Aborted" && error.cause instanceof PulsarError) return LATE;
  const said = VAGUE.includes(error.code) ? TEXTS.find(([pattern]) => pattern.test(error.message))?.[1] : undefined;
  return said ?? NAMES.get(error.code) ?? fatal("INTERNAL");
}

function refused(cause: unknown): Classified | undefined {
  for (let one = cause; one instanceof Error; one = one.cause) {
    const { code } = one as { code?: unknown };
    if (typeof code === "string" && CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
  }
  return undefined;
}

function networkMeaning(error: Error): Classified | undefined {
  const certificate = refused(error);
  if (certificate !== undefined) return certificate;
  const { code } = error as { code?: unknown };
  if (typeof code !== "string" || NOT_NETWORK.test(code)) return undefined;
  // OpenSSL, before there is a connection: a certificate or key of ours is none.
  if (code.startsWith("ERR_OSSL_")) return fatal("INVALID_ARGUMENT");
  return NETWORK.test(code) ? OUTAGE : undefined;
}

/** The broker says that there is no such topic or subscription. */
export function isMissing(error: unknown): boolean {
  if (error instanceof RestError) return error.status === MISSING;
  return error instanceof PulsarError && classify(error).code === "NOT_FOUND";
}

/** The broker is out of reach, or has taken away what was open: the same call may succeed later. */
export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", what, { cause });
}

/** What reading fails with once a consumer has ended by `error`: an outage, so that it begins anew, unless that would end in the same way. */
export function ended(what: "consumer" | "reader", error: unknown): unknown {
  const { code, retryable } = classify(error);
  // What nobody knows may be gone the next time.
  const outage = retryable || code === "INTERNAL";
  return outage ? unavailable(`The broker has closed the ${what}, or its connection is gone.`, error) : error;
}

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `The namespace has no topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}
