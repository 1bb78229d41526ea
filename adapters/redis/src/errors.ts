import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

/** By the first word of a server's error reply. */
const REPLIES: Readonly<Record<string, Classified>> = {
  WRONGPASS: fatal("UNAUTHENTICATED"),
  NOAUTH: fatal("UNAUTHENTICATED"),
  NOPERM: fatal("FORBIDDEN"),
  DENIED: fatal("FORBIDDEN"),
  // Trimming, expiry or a larger maxmemory make room without any change of the call.
  OOM: { code: "QUOTA_EXCEEDED", retryable: true },
  NOGROUP: fatal("NOT_FOUND"),
  WRONGTYPE: fatal("INVALID_ARGUMENT"),
  LOADING: OUTAGE,
  READONLY: OUTAGE,
  MASTERDOWN: OUTAGE,
  NOREPLICAS: OUTAGE,
  MISCONF: OUTAGE,
  BUSY: OUTAGE,
  TRYAGAIN: OUTAGE,
  CLUSTERDOWN: OUTAGE,
  MOVED: fatal("UNSUPPORTED"),
  ASK: fatal("UNSUPPORTED"),
  CROSSSLOT: fatal("UNSUPPORTED"),
};

/** Replies that begin with the general `ERR`. */
const GENERAL: readonly (readonly [RegExp, Classified])[] = [
  [/^ERR (AUTH|invalid password|Client sent AUTH)/i, fatal("UNAUTHENTICATED")],
  [/^ERR max number of clients/i, OUTAGE],
  [/^ERR (invalid DB index|DB index is out of range|SELECT)/i, fatal("INVALID_ARGUMENT")],
  [/^ERR (unknown command|unknown subcommand)/i, fatal("UNSUPPORTED")],
  [/^ERR (Protocol error|invalid bulk length)/i, fatal("TOO_LARGE")],
];

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*)$/;

/** By first word, Node error code, or the driver's own code; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  if (!(error instanceof Error)) return fatal("INTERNAL");
  const { driverCode } = error as Partial<DriverError>;
  if (driverCode !== undefined) return { code: driverCode, retryable: driverCode === "UNAVAILABLE" || driverCode === "TIMEOUT" };
  const { code } = error as NodeJS.ErrnoException;
  if (typeof code === "string") {
    if (CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
    if (code.startsWith("ERR_INVALID_ARG")) return fatal("INTERNAL");
    if (NETWORK.test(code)) return OUTAGE;
  }
  const word = /^[A-Z]+(?= )/.exec(error.message)?.[0] ?? "";
  return REPLIES[word] ?? GENERAL.find(([pattern]) => pattern.test(error.message))?.[1] ?? fatal("INTERNAL");
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
