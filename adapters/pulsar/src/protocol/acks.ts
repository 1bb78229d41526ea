import type { AckResult } from "../transport.ts";
import type { Connection } from "./connection.ts";
import type { Entry } from "./entries.ts";
import type { Settings } from "./options.ts";
import { bounded } from "./waiting.ts";
import { type AckId, ackFrame } from "./wire/ack.ts";

/** Entries of one command. */
const MAX_ENTRIES = 1_000;

interface Batch {
  readonly entries: Set<Entry>;
  readonly done: PromiseWithResolvers<AckResult>;
}

/** Gathers the acknowledgements of one turn of the event loop into commands, each of which the broker answers. */
export class Acks {
  readonly #connection: Connection;
  readonly #consumerId: number;
  readonly #settings: Settings;
  #batch: Batch | undefined;
  /** Sent, and not answered. */
  readonly #asked = new Set<Batch>();

  constructor(connection: Connection, consumerId: number, settings: Settings) {
    this.#connection = connection;
    this.#consumerId = consumerId;
    this.#settings = settings;
  }

  /** What is acknowledged of the entry by the end of this turn. Never rejects; the acknowledgements of one command share a promise. */
  add(entry: Entry): Promise<AckResult> {
    if (this.#batch === undefined) {
      this.#batch = { entries: new Set(), done: Promise.withResolvers() };
      const batch = this.#batch;
      process.nextTick(() => this.#send(batch));
    }
    const { entries, done } = this.#batch;
    entries.add(entry);
    if (entries.size >= MAX_ENTRIES) this.#send(this.#batch);
    return done.promise;
  }

  /** Writes what was added now, before whatever the caller writes next. */
  flush(): void {
    if (this.#batch !== undefined) this.#send(this.#batch);
  }

  /** The broker has taken the consumer away, and answers nothing for it any more: what was sent may have counted. */
  end(error: unknown): void {
    this.#batch?.done.resolve("lost");
    this.#batch = undefined;
    for (const { done } of this.#asked) done.resolve({ error });
    this.#asked.clear();
  }

  #send(batch: Batch): void {
    if (this.#batch !== batch) return;
    this.#batch = undefined;
    this.#asked.add(batch);
    const { answerTimeoutMs, clock } = this.#settings;
    const late = `The broker did not answer an acknowledgement within ${answerTimeoutMs} ms.`;
    const ids = [...batch.entries].flatMap(idsOf);
    const ask = (signal: AbortSignal): Promise<unknown> =>
      this.#connection.request("ackResponse", signal, (requestId) => ackFrame(this.#consumerId, requestId, ids));
    bounded(clock, answerTimeoutMs, late, ask)
      .then(
        () => batch.done.resolve("confirmed"),
        (error: unknown) => batch.done.resolve({ error }),
      )
      .finally(() => this.#asked.delete(batch));
  }
}

function idsOf(held: Entry): readonly AckId[] {
  const { ledger, entry, size, complete, places } = held;
  return complete ? places : [{ ledger, entry, ackSet: held.ackSet(), batchSize: size }];
}
