import type { PublishResult, Target, WireRecord } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { groupMissing, isMissing, topicMissing, unavailable } from "./errors.ts";
import { placeOf, RETRY, spotOfId } from "./mapping.ts";
import { encode } from "./protocol/reading/message.ts";
import { bounded, until } from "./protocol/waiting.ts";
import type { SendResult, TransportProducer } from "./transport.ts";

const OPEN_MS = 10_000;

/** Publishes by one producer for each topic, opened when it is first needed. */
export class Publisher {
  readonly #session: Session;
  readonly #producers = new Map<string, Promise<TransportProducer>>();
  #closed = false;

  constructor(session: Session) {
    this.#session = session;
  }

  /** See `Driver.publish`: never rejects, one result per record. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const results: PublishResult[] = new Array(batch.length);
    const routes = Map.groupBy(batch.keys(), (position) => this.#nameOf((batch[position] as WireRecord).target));
    await Promise.all([...routes].map(([name, positions]) => this.#send(name, positions, batch, results, signal)));
    return results;
  }

  #nameOf({ topic, group }: Target): string {
    return group === undefined ? this.#session.full(topic) : this.#session.inbox(topic, group);
  }

  /** What of a call goes to one topic of Pulsar. */
  async #send(
    name: string,
    positions: readonly number[],
    batch: readonly WireRecord[],
    results: PublishResult[],
    signal: AbortSignal,
  ): Promise<void> {
    const { topic, group } = (batch[positions[0] as number] as WireRecord).target;
    const now = this.#session.clock.now();
    let answers: readonly SendResult[];
    try {
      const producer = await until(signal, this.#producer(name));
      answers = await producer.send(
        positions.map((position) => encode(batch[position] as WireRecord, now)),
        signal,
      );
    } catch (raw) {
      const missing = group === undefined ? topicMissing(topic) : groupMissing(topic, group);
      const aborted = unavailable("The publish was aborted before anything was sent.", raw);
      const error = signal.aborted ? aborted : isMissing(raw) ? missing : raw;
      for (const position of positions) results[position] = { ok: false, error, sent: "no" };
      return;
    }
    for (const [n, position] of positions.entries()) results[position] = resultOf(answers[n] as SendResult, group !== undefined, signal);
  }

  /** Opened for all who wait for it, so that it hangs on nobody's signal. */
  #producer(name: string): Promise<TransportProducer> {
    const known = this.#producers.get(name);
    if (known !== undefined) return known;
    const forget = (): void => {
      if (this.#producers.get(name) === opened) this.#producers.delete(name);
    };
    const opened: Promise<TransportProducer> = this.#open(name, forget);
    this.#producers.set(name, opened);
    opened.catch(forget);
    return opened;
  }

  async #open(topic: string, closed: () => void): Promise<TransportProducer> {
    if (this.#closed) throw unavailable("The driver is closed.");
    const transport = this.#session.transport();
    const open = (signal: AbortSignal): Promise<TransportProducer> => transport.producer({ topic, closed }, signal);
    return await bounded(this.#session.clock, OPEN_MS, "The broker has not opened a producer.", open);
  }

  /** What is under way ends in doubt. */
  async close(): Promise<void> {
    this.#closed = true;
    const opened = await Promise.allSettled(this.#producers.values());
    this.#producers.clear();
    await Promise.all(opened.map((one) => (one.status === "fulfilled" ? one.value.close() : undefined)));
  }
}

function resultOf(answer: SendResult, inbox: boolean, { aborted }: AbortSignal): PublishResult {
  if (!answer.ok)
    return aborted ? { ...answer, error: unavailable("The publish was aborted while the broker had not answered.", answer.error) } : answer;
  // A broker that drops what it has already does not say where that is.
  if (answer.duplicate) return { ok: true, duplicate: true };
  return { ok: true, place: placeOf(inbox ? RETRY : String(answer.id.partition), spotOfId(answer.id)) };
}
