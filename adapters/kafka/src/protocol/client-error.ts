import { type DriverError, driverError, type ErrorCode } from "brokerkit/driver";
import { ADVICE } from "./error-names.ts";

/** The link is gone or was never there: nothing was sent by this call. */
export function unavailable(what: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", what, { cause });
}

/** What is read of an error, whoever made it: the client, Node, or this adapter. */
export interface Seen {
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
export function* within(error: unknown, seen: Set<unknown> = new Set()): Generator<Error & Seen> {
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

/** The client's own errors, which say less than what may be inside them. */
export const CLIENT_ERRORS: ReadonlyMap<unknown, ErrorCode> = new Map([
  ["PLT_KFK_AUTHENTICATION", "UNAUTHENTICATED"],
  ["PLT_KFK_NETWORK", "UNAVAILABLE"],
  ["PLT_KFK_TIMEOUT", "UNAVAILABLE"],
  ["PLT_KFK_UNEXPECTED_CORRELATION_ID", "UNAVAILABLE"],
  ["PLT_KFK_UNSUPPORTED_API", "UNSUPPORTED"],
  ["PLT_KFK_UNSUPPORTED_COMPRESSION", "UNSUPPORTED"],
  ["PLT_KFK_UNSUPPORTED_FORMAT", "UNSUPPORTED"],
  ["PLT_KFK_UNSUPPORTED", "UNSUPPORTED"],
]);

/** The client's words for a port of the other kind. */
const TLS_WANTED = /Broker requires TLS/;
const TLS_REFUSED = /TLS handshake failed|secure TLS connection was established/;

/** A port that speaks TLS was spoken to without it, or the other way round. */
export function spokeOtherwise({ message }: Seen): boolean {
  return TLS_WANTED.test(message) || TLS_REFUSED.test(message);
}

/** An error of the client without the answer that it came with, which holds records. */
class KafkaError extends Error {
  override readonly name = "KafkaError";
  /** The protocol's name of it. */
  readonly apiId: string | undefined;
  /** The client's. */
  readonly code: unknown;

  constructor(all: readonly (Error & Seen)[]) {
    const cause = all.find((one) => (one.code !== undefined || one.driverCode !== undefined) && !isClients(one));
    super(textOf(all), cause === undefined ? undefined : { cause });
    this.apiId = protocolName(all[0]);
    this.code = all.findLast(({ code }) => CLIENT_ERRORS.has(code))?.code;
  }
}

/** An error of the client as an application should see it: what the server said, and what to do. Anything else is given back as it is. */
export function readable(error: unknown): unknown {
  const all = [...within(error)];
  return error instanceof KafkaError || !isClients(all[0]) ? error : new KafkaError(all);
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
