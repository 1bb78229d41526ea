import type { Clock, SubscriptionEvents } from "brokerkit/driver";
import type { Settings } from "./options.ts";
import type { Properties } from "./protocol/frames.ts";
import type { Link } from "./protocol/link.ts";
import type { Marks } from "./protocol/marks.ts";
import type { Registers } from "./protocol/registers.ts";

export interface Reader {
  close(): Promise<void>;
  /** The queue that it reads for a group, and how many of its messages are unsettled here. */
  readonly queue?: string;
  readonly held?: number;
}

/** What the parts of a driver share. */
export interface Session {
  readonly clock: Clock;
  readonly settings: Settings;
  /** The link for all but publishing. Throws UNAVAILABLE when there is none. */
  readonly control: () => Link;
  /** Publishes one message of the driver's own, without a body, to a queue; resolves when it is confirmed. */
  readonly store: (queue: string, properties: Properties, signal: AbortSignal) => Promise<void>;
  /** What processes share: the groups of topics, and what core keeps. */
  readonly registers: Registers;
  /** The driver's own messages in queues of groups. */
  readonly marks: Marks;
  /** Exchanges and queues that are there, each until when that may be taken for granted, on the monotonic clock. */
  readonly known: Map<string, number>;
  /** The longest delay there is a queue for. */
  readonly maxDelayMs: number;
  /** Readers of temporary queues that lost theirs, by what they are told. */
  readonly interrupted: WeakSet<SubscriptionEvents>;
  /** Closed with the driver. */
  readonly readers: Set<Reader>;
}
