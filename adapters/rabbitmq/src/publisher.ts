import type { PublishResult, WireRecord } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { groupMissing, logMissing, topicMissing, unavailable } from "./errors.ts";
import { delayOf, exchangeOf, queueOf, roundedDelay } from "./mapping.ts";
import { alarm, Confirms } from "./protocol/confirms.ts";
import type { Properties } from "./protocol/frames.ts";
import { type Link, within } from "./protocol/link.ts";
import { encode } from "./protocol/message.ts";
import type { Publishes, Route } from "./protocol/publishes.ts";
import { delayQueue, takesMessages } from "./protocol/topology.ts";

const NOTHING = Buffer.alloc(0);

/** The exchange or the queue that a record is published to, which may have to be asked about. */
interface Way extends Route {
  readonly place: string;
}

/** Publishes over one connection, which does nothing else: a server with an alarm stops reading from it. */
export class Publisher {
  readonly #session: Session;
  readonly #confirms: Confirms;

  constructor(link: Link, session: Session) {
    this.#session = session;
    this.#confirms = new Confirms(link);
  }

  /** The server has said that it takes nothing, and why; or that it does again. */
  block(reason: string | undefined): void {
    this.#confirms.block(reason);
  }

  fail(error: Error): void {
    this.#confirms.fail(error);
  }

  /** Settles when every answer is there, or the link is gone; `abort` is to see to that when the caller gives up. */
  async publish(batch: readonly WireRecord[], signal: AbortSignal, abort: (error: Error) => void): Promise<readonly PublishResult[]> {
    let publishes: Publishes;
    let ways: readonly Way[];
    let failures: ReadonlyMap<string, unknown>;
    try {
      ways = waysOf(batch);
      publishes = await this.#confirms.ready(signal);
      failures = await this.#prepare(batch, ways, signal);
      if (signal.aborted) throw unavailable("The publish was aborted before anything was sent.", signal.reason);
    } catch (error) {
      return batch.map(() => ({ ok: false, error, sent: "no" }));
    }
    const onAbort = (): void => {
      const why = "The publish was aborted while the server had not answered.";
      abort(this.#confirms.blocked === undefined ? unavailable(why, signal.reason) : alarm(this.#confirms.blocked, why));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    const results = await publishes.send(batch.length, (n) => {
      const route = ways[n] as Way;
      if (failures.size > 0 && failures.has(route.place)) throw failures.get(route.place);
      const { properties, body } = encode(batch[n] as WireRecord);
      return { route, properties, body };
    });
    signal.removeEventListener("abort", onAbort);
    // The exchange or the link may be gone: what was known of it is to be asked again.
    for (let n = 0; n < results.length; n++) if (results[n]?.ok === false) this.#session.known.delete((ways[n] as Way).place);
    return results;
  }

  /** One message of the driver's own, without a body, for a queue. */
  async store(queue: string, properties: Properties, signal: AbortSignal): Promise<void> {
    const route: Route = { exchange: "", routingKey: queue, mandatory: true, missing: () => logMissing(queue) };
    const sending = this.#confirms.ready(signal).then((publishes) => publishes.send(1, () => ({ route, properties, body: NOTHING })));
    const [result] = await within(signal, sending);
    if (result?.ok === false) throw result.error;
  }

  /**
   * A message for an exchange that is not there closes the channel, so those are asked about before; queues for delays are made. Resolves to
   * what can't be published to, and why.
   */
  async #prepare(batch: readonly WireRecord[], ways: readonly Way[], signal: AbortSignal): Promise<ReadonlyMap<string, unknown>> {
    const { known, clock } = this.#session;
    const now = clock.monotonic();
    const asked = new Map<string, Promise<unknown>>();
    for (let n = 0; n < batch.length; n++) {
      const way = ways[n] as Way;
      if (way === ways[n - 1] || (known.get(way.place) ?? 0) > now || asked.has(way.place)) continue;
      const record = batch[n] as WireRecord;
      // What comes back says by itself that there is no such queue.
      if (record.target.group === undefined || isDelayed(record)) asked.set(way.place, this.#ask(record, signal));
    }
    const failures = new Map<string, unknown>();
    for (const [place, answer] of asked) await answer.catch((error: unknown) => failures.set(place, error));
    return failures;
  }

  async #ask({ target: { topic, group }, delayMs = 0 }: WireRecord, signal: AbortSignal): Promise<void> {
    if (delayMs > 0) await delayQueue(this.#session, topic, group, roundedDelay(delayMs), signal);
    else if (!(await takesMessages(this.#session, topic, signal))) throw topicMissing(topic);
  }
}

function isDelayed({ delayMs = 0 }: WireRecord): boolean {
  return delayMs > 0;
}

/** The way of each record; neighbours with the same target have one together. */
function waysOf(batch: readonly WireRecord[]): readonly Way[] {
  const ways: Way[] = new Array(batch.length);
  for (let n = 0; n < batch.length; n++) {
    const record = batch[n] as WireRecord;
    const before = batch[n - 1];
    ways[n] = before !== undefined && alike(before, record) ? (ways[n - 1] as Way) : wayOf(record);
  }
  return ways;
}

function alike(one: WireRecord, other: WireRecord): boolean {
  return one.target.topic === other.target.topic && one.target.group === other.target.group && one.delayMs === other.delayMs;
}

function wayOf({ target: { topic, group }, delayMs = 0 }: WireRecord): Way {
  const missing = (): Error => (group === undefined ? topicMissing(topic) : groupMissing(topic, group));
  // An exchange without queues takes everything: a topic without groups. A queue that is not there gives a message back.
  if (group === undefined && delayMs <= 0) {
    const place = exchangeOf(topic);
    return { place, exchange: place, routingKey: topic, mandatory: false, missing };
  }
  const place = delayMs > 0 ? delayOf(topic, group, roundedDelay(delayMs)) : queueOf(topic, group as string);
  return { place, exchange: "", routingKey: place, mandatory: true, missing };
}
