/** The bytes are not of the protocol: the connection they came by is worth nothing any more. */
export class WireError extends Error {
  override readonly name: string = "WireError";
}

/** An entry arrived other than it was sent. To be asked for again, by another connection. */
export class ChecksumError extends WireError {
  override readonly name = "ChecksumError";
}

/**
 * One entry that can't be written or read; the connection is sound.
 * - `ENCRYPTED`: end-to-end encrypted, which this client has no keys for.
 * - `COMPRESSION`: a codec that this client or this Node.js does not have.
 * - `CORRUPT`: intact on the way, but not what its producer says it is.
 * - `OVERSIZE`: larger than the server's `maxMessageSize`.
 */
export type EntryFault = "ENCRYPTED" | "COMPRESSION" | "CORRUPT" | "OVERSIZE";

export class EntryError extends Error {
  override readonly name = "EntryError";
  readonly fault: EntryFault;

  constructor(fault: EntryFault, message: string, options?: ErrorOptions) {
    super(message, options);
    this.fault = fault;
  }
}
