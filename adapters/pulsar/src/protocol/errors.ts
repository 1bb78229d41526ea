/** `no`: no byte of it can have reached the broker. `maybe`: it was written, and no answer came. */
export type Sent = "no" | "maybe";

/** What went wrong here rather than at the broker; everything else is a name of the protocol's `ServerError`. */
export type LocalCode =
  /** No connection could be opened. */
  | "ConnectError"
  /** An open connection ended, or fell silent. */
  | "ConnectionLost"
  /** The other side does not speak the protocol as it should, or bytes were damaged on their way. */
  | "ProtocolError"
  /** The caller's signal, or a limit of its own, ended the wait. */
  | "Aborted"
  /** Used after it was closed. */
  | "Closed"
  /** The broker moved the topic, or took the producer or consumer away: a new one may be made at once. */
  | "Detached"
  /** A message or an option that this client cannot carry. */
  | "Unsupported"
  | "InvalidArgument"
  /** More bytes than the broker takes in one message. */
  | "MessageTooLarge";

/** An error of a broker or of the connection to it. Messages carry no secrets. */
export class PulsarError extends Error {
  override readonly name = "PulsarError";
  /** A name of `ServerError` such as "TopicNotFound", or a `LocalCode`. */
  readonly code: string;
  /** Of a request or a message that had no answer. */
  readonly sent: Sent;

  constructor(code: string, text: string, more: { readonly cause?: unknown; readonly sent?: Sent | undefined } = {}) {
    super(text, more.cause === undefined ? undefined : { cause: more.cause });
    this.code = code;
    this.sent = more.sent ?? "no";
  }
}

/** An error raised here, whose code is one of the local ones. */
export function localError(code: LocalCode, text: string, more: { readonly cause?: unknown; readonly sent?: Sent } = {}): PulsarError {
  return new PulsarError(code, text, more);
}

/** The same failure, of something that had been written already. */
export function maybeSent(error: PulsarError): PulsarError {
  return error.sent === "maybe" ? error : new PulsarError(error.code, error.message, { cause: error.cause, sent: "maybe" });
}
