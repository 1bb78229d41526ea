import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";
import { ADVICE, PROTOCOL_ERRORS } from "./protocol/error-names.ts";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

/** The link is gone or was never there: nothing was sent by this call. */
export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", what, { cause });
}

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `The cluster has no topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}

/** What is read of an error, whoever made it: the client, Node, or this adapter. */
interface Seen {
  readonly message: string;
  /** Of the client (`PLT_KFK_…`) or Node. */
  readonly code?: unknown;
  /** The protocol's name of the error. */
  readonly apiId?: unknown;
  readonly serverErrorMessage?: unknown;
  readonly driverCode?: ErrorCode | undefined;
  readonly errors?: readonly unknown[];
  readonly cause?: unknown;
}

/** An error and all inside it, the outermost first. Causes may form a ring. */
function* within(error: unknown, seen: Set<unknown> = new Set()): Generator<Error & Seen> {
  if (!(error instanceof Error) || seen.has(error)) return;
  seen.add(error);
  yield error as Error & Seen;
  const { errors = [], cause } = error as Seen;
  for (const inner of Array.isArray(errors) ? errors : []) yield* within(inner, seen);
  yield* within(cause, seen);
}

/** The name of the first protocol error inside a client's error, such as "NOT_LEADER_OR_FOLLOWER". */
export function protocolName(error: unknown): string | undefined {
  for (const { apiId } of within(error)) if (typeof apiId === "string") return apiId;
  return undefined;
}

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z][A-Z0-9_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*)$/;
const NOT_NETWORK = /^ERR_(INVALID_ARG|OUT_OF_RANGE|ASSERTION)/;

/** The client's own errors, which say less than what may be inside them. */
const CLIENT: Readonly<Record<string, Classified>> = {
  PLT_KFK_AUTHENTICATION: fatal("UNAUTHENTICATED"),
  PLT_KFK_NETWORK: OUTAGE,
  PLT_KFK_TIMEOUT: OUTAGE,
  PLT_KFK_UNEXPECTED_CORRELATION_ID: OUTAGE,
  PLT_KFK_UNSUPPORTED_API: fatal("UNSUPPORTED"),
  PLT_KFK_UNSUPPORTED_COMPRESSION: fatal("UNSUPPORTED"),
  PLT_KFK_UNSUPPORTED_FORMAT: fatal("UNSUPPORTED"),
  PLT_KFK_UNSUPPORTED: fatal("UNSUPPORTED"),
};

function meaningOf({ driverCode, apiId, code, name }: Error & Seen): Classified | undefined {
  if (driverCode !== undefined) return { code: driverCode, retryable: driverCode === "UNAVAILABLE" || driverCode === "TIMEOUT" };
  if (typeof apiId === "string") return PROTOCOL_ERRORS.get(apiId) ?? fatal("INTERNAL");
  if (name === "TimeoutError" && typeof code === "number") return { code: "TIMEOUT", retryable: true };
  if (name === "AbortError") return fatal("ABORTED");
  if (typeof code !== "string" || NOT_NETWORK.test(code)) return undefined;
  if (CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
  return NETWORK.test(code) ? OUTAGE : undefined;
}

/** The client's words for a port of the other kind. */
const TLS_WANTED = /Broker requires TLS/;
const TLS_REFUSED = /TLS handshake failed|secure TLS connection was established/;

/** By the protocol's name, Node's code, the driver's own code, or else the client's; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  let vague = KafkaError.meaningOf(error);
  if (vague !== undefined) return vague;
  for (const one of within(error)) {
    const meaning = meaningOf(one);
    if (meaning !== undefined) return meaning;
    if (TLS_WANTED.test(one.message) || TLS_REFUSED.test(one.message)) return OUTAGE;
    // A certificate that is refused or a cut may be what ended an authentication, so what is inside goes first.
    vague = (typeof one.code === "string" ? CLIENT[one.code] : undefined) ?? vague;
  }
  return vague ?? fatal("INTERNAL");
}

/** An error of the client without the answer that it came with, which holds records. */
class KafkaError extends Error {
  override readonly name = "KafkaError";
  /** The protocol's name of it. */
  readonly apiId: string | undefined;
  readonly #meaning: Classified;

  constructor(text: string, apiId: string | undefined, meaning: Classified, cause: unknown) {
    super(text, cause === undefined ? undefined : { cause });
    this.apiId = apiId;
    this.#meaning = meaning;
  }

  static meaningOf(error: unknown): Classified | undefined {
    return error instanceof KafkaError ? error.#meaning : undefined;
  }
}

/** An error of the client as an application should see it: what the server said, and what to do. Anything else is given back as it is. */
export function readable(error: unknown): unknown {
  const all = [...within(error)];
  if (!isClients(all[0])) return error;
  const cause = all.find((one) => one.code !== undefined && !isClients(one));
  return new KafkaError(textOf(all), protocolName(error), classify(error), cause);
}

function isClients(error: Seen | undefined): boolean {
  return typeof error?.code === "string" && error.code.startsWith("PLT_KFK_");
}

function textOf(all: readonly (Error & Seen)[]): string {
  const named = new Map<string, string>();
  for (const { apiId, serverErrorMessage, message } of all) {
    if (typeof apiId === "string" && !named.has(apiId)) {
      const said = typeof serverErrorMessage === "string" && serverErrorMessage !== "" ? serverErrorMessage : message;
      named.set(apiId, [`${apiId}: ${said}`, ADVICE.get(apiId)].filter((part) => part !== undefined).join(" "));
    }
  }
  if (named.size > 0) return [...named.values()].slice(0, 3).join("; ");
  const texts = new Set(all.map(({ message }) => message.trim().replace(/(?<![.!?])$/, ".")));
  const said = [...texts].join(" ");
  if (TLS_WANTED.test(said)) return `${said} Use kafkas: or the option tls.`;
  return TLS_REFUSED.test(said) ? `${said} Does this port speak TLS? Use kafka: where it does not.` : said;
}
