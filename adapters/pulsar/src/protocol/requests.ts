import { localError, maybeSent, PulsarError } from "./errors.ts";
import { aborted } from "./waiting.ts";
import type { Command } from "./wire/command.ts";
import { serverErrorName } from "./wire/ids.ts";
import { CommandLookupTopicResponse_LookupType, CommandPartitionedTopicMetadataResponse_LookupType } from "./wire/pulsar.generated.ts";

type Case = Command["case"];
export type Answer<C extends Case> = Extract<Command, { case: C }>["value"];

interface Waiting {
  readonly expected: Case;
  readonly resolve: (answer: Command["value"]) => void;
  readonly reject: (error: PulsarError) => void;
}

/** Requests of one connection that have no answer yet, by number. */
export class Requests {
  readonly #waiting = new Map<number, Waiting>();
  #last = 0;

  /** `send` writes the request under the number it is given. Rejects with what the broker says, on abort, or when the connection ends. */
  ask<C extends Case>(expected: C, signal: AbortSignal, send: (requestId: number) => void): Promise<Answer<C>> {
    if (signal.aborted) return Promise.reject(aborted(signal));
    // The largest number means "not asked for".
    this.#last = this.#last >= 0xffff_fffe ? 1 : this.#last + 1;
    const requestId = this.#last;
    const { promise, resolve, reject } = Promise.withResolvers<Command["value"]>();
    const abort = (): void => {
      this.#waiting.delete(requestId);
      reject(maybeSent(aborted(signal)));
    };
    const done = (): void => signal.removeEventListener("abort", abort);
    signal.addEventListener("abort", abort, { once: true });
    promise.then(done, done);
    this.#waiting.set(requestId, { expected, resolve, reject });
    send(requestId);
    return promise as Promise<Answer<C>>;
  }

  /** Takes an answer. What nobody waits for any more is dropped. */
  answered(command: Command): void {
    const { requestId } = command.value as { readonly requestId?: number };
    if (requestId === undefined) return;
    // "Not yet": another answer follows.
    if (command.case === "producerSuccess" && !command.value.producerReady) return;
    const waiting = this.#waiting.get(requestId);
    if (waiting === undefined) return;
    this.#waiting.delete(requestId);
    const refusal = refusalOf(command);
    if (refusal !== undefined) waiting.reject(refusal);
    else if (command.case === waiting.expected) waiting.resolve(command.value);
    else waiting.reject(localError("ProtocolError", `The broker answered ${command.case} where ${waiting.expected} was expected.`));
  }

  /** The connection is gone. */
  failAll(error: PulsarError): void {
    const all = [...this.#waiting.values()];
    this.#waiting.clear();
    for (const { reject } of all) reject(maybeSent(error));
  }
}

/** What the broker says is wrong, in its own words: the first line of them. */
export function serverError(error: number | undefined, text: string | undefined): PulsarError {
  const name = serverErrorName(error ?? 0);
  const said = (text ?? "").split("\n", 1)[0]?.slice(0, 500) ?? "";
  return new PulsarError(name, said === "" ? name : `${name}: ${said}`);
}

function refusalOf(command: Command): PulsarError | undefined {
  if (command.case === "error") return serverError(command.value.error, command.value.message);
  if (command.case === "lookupTopicResponse" && command.value.response === CommandLookupTopicResponse_LookupType.Failed)
    return serverError(command.value.error, command.value.message);
  if (command.case === "partitionMetadataResponse" && command.value.response === CommandPartitionedTopicMetadataResponse_LookupType.Failed)
    return serverError(command.value.error, command.value.message);
  if (command.case === "ackResponse" && (command.value.message !== "" || command.value.error !== 0))
    return serverError(command.value.error, command.value.message);
  return undefined;
}
