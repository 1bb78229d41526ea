import type { SettleResult, SubscribeRequest, Subscription, WireDelivery } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { cutOf } from "./mapping.ts";
import { Member } from "./protocol/reading/member.ts";
import { openReader, type Reader } from "./protocol/reading/reader.ts";

export async function openSubscription(session: Session, request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
  const { group, topic, from, events } = request;
  if (group !== undefined) return Member.open(session, request, group, signal);
  return new BroadcastSubscription(await openReader(session, { topic, from, events }, signal));
}

/** Reads from its start on, alone; there is nothing to settle. */
class BroadcastSubscription implements Subscription {
  readonly created = true;
  readonly start: Subscription["start"];
  readonly #reader: Reader;

  constructor(reader: Reader) {
    this.#reader = reader;
    this.start = reader.start === undefined ? undefined : cutOf(reader.start);
  }

  receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    return this.#reader.read(max, waitMs, signal);
  }

  async ack(deliveries: readonly WireDelivery[]): Promise<readonly SettleResult[]> {
    return deliveries.map(() => "confirmed");
  }

  async flush(): Promise<void> {}

  close(): Promise<void> {
    return this.#reader.close();
  }
}
