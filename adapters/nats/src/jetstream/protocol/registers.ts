import { type Coordination, driverError, type Register } from "brokerkit/driver";
import { ApiError, WRONG_LAST_SEQUENCE } from "../../errors.ts";
import { NoResponders } from "../../protocol/connection.ts";
import type { Session } from "../client.ts";
import { registersOf } from "../mapping.ts";

/** https://docs.nats.io/nats-concepts/jetstream/headers */
const EXPECTED = "Nats-Expected-Last-Subject-Sequence";

/**
 * Registers are the subjects of one stream, which keeps the last message of each. The stream's leader answers reads and compares the
 * sequence of a subject's last message before it stores the next; that sequence is the revision.
 */
export class Registers implements Coordination {
  readonly #session: Session;

  constructor(session: Session) {
    this.#session = session;
  }

  async read(name: string, signal: AbortSignal): Promise<Register | undefined> {
    const { stream, subject } = this.#named(name);
    const last = await this.#session.api.last(stream, subject, signal);
    return last === undefined ? undefined : { value: Buffer.from(last.data ?? "", "base64"), revision: String(last.seq) };
  }

  async compareAndSet(name: string, expected: string | undefined, value: Uint8Array, signal: AbortSignal): Promise<string | undefined> {
    const headers = `NATS/1.0\r\n${EXPECTED}: ${expected ?? 0}\r\n\r\n`;
    const { maxPayload } = this.#session.control().info;
    if (headers.length + value.length > maxPayload)
      throw driverError("TOO_LARGE", `A register of ${value.length} bytes is more than the server's max_payload of ${maxPayload} allows.`);
    try {
      return await this.#put(name, headers, value, signal);
    } catch (error) {
      // Nothing keeps the subject, so nothing was stored: the first register of all makes the stream.
      if (!(error instanceof NoResponders)) throw error;
      const { stream, all } = this.#named(name);
      await this.#session.createStream({ stream, subject: all }, { retention: "limits", max_msgs_per_subject: 1 }, signal);
      return await this.#put(name, headers, value, signal);
    }
  }

  async #put(name: string, headers: string, value: Uint8Array, signal: AbortSignal): Promise<string | undefined> {
    const { stream, subject } = this.#named(name);
    const answer = await this.#session.control().ask(subject, value, signal, headers);
    const { error, stream: by, seq } = JSON.parse(answer.body.toString()) as PutAnswer;
    if (error?.err_code === WRONG_LAST_SEQUENCE) return undefined;
    if (error !== undefined) throw new ApiError(error.code, error.err_code, error.description);
    if (by === stream && seq !== undefined) return String(seq);
    throw driverError(
      "INVALID_ARGUMENT",
      `The stream "${by}" keeps the subject "${subject}", which is one of "${stream}". Take it out of there.`,
    );
  }

  #named(name: string): { readonly stream: string; readonly subject: string; readonly all: string } {
    return registersOf(this.#session.endpoint.subjectPrefix, name);
  }
}

interface PutAnswer {
  readonly stream?: string;
  readonly seq?: number;
  readonly error?: { readonly code: number; readonly err_code: number; readonly description: string };
}
