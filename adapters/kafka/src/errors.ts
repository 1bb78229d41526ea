import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";
import { CLIENT_ERRORS, type Seen, spokeOtherwise, within } from "./protocol/client-error.ts";
import { PROTOCOL_ERRORS } from "./protocol/error-names.ts";

const meaning = (code: ErrorCode): Classified => ({ code, retryable: code === "UNAVAILABLE" || code === "TIMEOUT" });

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `The cluster has no topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z][A-Z0-9_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*)$/;
const NOT_NETWORK = /^ERR_(INVALID_ARG|OUT_OF_RANGE|ASSERTION)/;

function meaningOf(error: Error & Seen): Classified | undefined {
  const { driverCode, apiId, code, name } = error;
  if (driverCode !== undefined) return meaning(driverCode);
  if (typeof apiId === "string") return PROTOCOL_ERRORS.get(apiId) ?? meaning("INTERNAL");
  if (spokeOtherwise(error)) return meaning("UNAVAILABLE");
  if (name === "TimeoutError" && typeof code === "number") return meaning("TIMEOUT");
  if (name === "AbortError") return meaning("ABORTED");
  if (typeof code !== "string" || NOT_NETWORK.test(code)) return undefined;
  if (CERTIFICATE.test(code)) return meaning("UNAUTHENTICATED");
  return NETWORK.test(code) ? meaning("UNAVAILABLE") : undefined;
}

/** By the protocol's name, Node's code, the driver's own code, or else the client's; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  let vague: ErrorCode = "INTERNAL";
  for (const one of within(error)) {
    const said = meaningOf(one);
    if (said !== undefined) return said;
    // A certificate that is refused or a cut may be what ended an authentication, so what is inside goes first.
    vague = CLIENT_ERRORS.get(one.code) ?? vague;
  }
  return meaning(vague);
}
