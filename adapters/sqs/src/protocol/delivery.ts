import type { Shard, WireDelivery, WireHeader } from "brokerkit/driver";
import type { Message } from "./calls.ts";
import { decode } from "./message.ts";

/** The service knows whole seconds only. */
export const SECOND_MS = 1_000;
/** Visibility time-outs end at the latest so long after the receive, whatever is asked for. */
const LONGEST_LEASE_MS = 43_200_000;

/** A received message: what core settles by. */
export class SqsDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly place: undefined = undefined;
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number;
  readonly deliveries: number;
  readonly failures: number;
  readonly inbox: boolean;
  leaseUntil: number;
  /** Of this receive alone: the next one of the same message has another. */
  readonly receipt: string;
  readonly messageGroup: string | undefined;
  readonly messageId: string;
  /** Not before (epoch ms). */
  readonly dueMs: number;
  /** When its visibility time-out ends at the latest, however often it is extended (monotonic ms). */
  readonly endsAt: number;

  constructor(shard: Shard, message: Message, receivedAt: number, leaseMs: number) {
    const { Attributes, Body = "", MessageAttributes, MessageId = "", ReceiptHandle = "" } = message;
    const found = decode(Body, MessageAttributes);
    const foreign = found.publishedAt === undefined;
    this.messageGroup = Attributes?.["MessageGroupId"];
    this.messageId = MessageId;
    this.shard = shard;
    this.id = found.id ?? MessageId;
    this.key = foreign && this.messageGroup !== undefined ? Buffer.from(this.messageGroup) : found.key;
    this.headers = found.headers;
    this.body = found.body;
    this.publishedAt = found.publishedAt ?? Number(Attributes?.["SentTimestamp"] ?? 0);
    // What came much too early was put back once, and no handler has seen it.
    const early = Number(Attributes?.["ApproximateFirstReceiveTimestamp"] ?? 0) <= (found.dueMs ?? 0) - SECOND_MS ? 1 : 0;
    this.deliveries = Math.max(1, Number(Attributes?.["ApproximateReceiveCount"] ?? 1) - early);
    this.failures = found.failures;
    this.inbox = found.inbox;
    this.leaseUntil = receivedAt + leaseMs;
    this.receipt = ReceiptHandle;
    this.dueMs = found.dueMs ?? 0;
    this.endsAt = receivedAt + LONGEST_LEASE_MS;
  }
}
