import type { Capabilities, Features } from "brokerkit/driver";
import type { Settings } from "./options.ts";

const DAY_MS = 86_400_000;
const MIB = 1_048_576;

function frozen<T extends object>(record: T): T {
  for (const value of Object.values(record)) if (typeof value === "object" && value !== null) frozen(value);
  return Object.freeze(record);
}

const queues: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: true,
  // A quorum queue confirms what is in its synced log; streams and classic queues leave syncing to the system.
  durabilityOnAck: "fsync",
  publish: { maxRecords: 1_000, maxBytes: 64 * MIB, inFlight: 4, order: "record" },
  settle: { unit: "message", ack: "written" },
  receive: { maxRecords: 1_000, concurrency: 1, maxWaitMs: 30_000 },
  // A rejected message comes again at once or never: delays go through the group's inbox. Only quorum queues count.
  redelivery: { native: false, maxDelayMs: 0, counted: "deliveries" },
  lease: { ms: 0, extend: false },
  // What the option `prefetch` can be. A server gives up a consumer whose oldest delivery is unsettled for 30 minutes, unless told otherwise (consumer_timeout).
  hold: { maxMs: 1_200_000, maxUnacked: 65_535, scope: "subscription" },
  keyOrder: "process",
  coordination: true,
  from: {
    group: ["latest"],
    broadcast: ["latest", "earliest", "time", "position"],
    replay: ["earliest", "time", "position"],
  },
  seek: "none",
  cursorEnd: true,
  // Milliseconds are 32 bits wide on the server, and a delay's queue has to outlive the delay.
  delay: { maxMs: 30 * DAY_MS },
  ttl: { maxMs: 30 * DAY_MS },
  // What the option `priorities` can be.
  priority: { levels: 10 },
  dedupe: { windowMs: 0 },
  groupInbox: "native",
  // What waits in the queue is counted; what other processes hold is not told.
  lag: { count: "estimate", unit: "message", inFlight: false, oldest: false },
  // The log has places, queues have none.
  places: { perDelivery: false, dense: false },
  topics: { explicit: true, partitions: 1, describe: true },
  retention: { ms: true, bytes: true, compact: false },
  // 16 MiB is what a server of today lets through unless told otherwise (max_message_size). All headers fit into one frame.
  message: { maxBytes: 16 * MIB, maxHeaders: 250, key: true, headers: true, tombstone: true },
};

/** What the record is under these options: the ceiling of the drivers that are opened with them. */
export function ceilingOf(settings: Settings): Capabilities {
  const quorum = settings.queueType === "quorum";
  const record: Capabilities = {
    ...queues,
    durabilityOnAck: quorum && !settings.log ? "fsync" : "page-cache",
    redelivery: { ...queues.redelivery, counted: quorum ? "deliveries" : "none" },
    hold: { ...queues.hold, maxUnacked: settings.prefetch },
    priority: { levels: settings.priorities },
  };
  return settings.log ? frozen(record) : withoutLog(record);
}

/** The record without what only a log can do. */
export function withoutLog(record: Capabilities): Capabilities {
  return frozen({
    ...record,
    delivery: { ...record.delivery, broadcast: "at-most-once" },
    from: { group: record.from.group, broadcast: ["latest"], replay: [] },
    cursorEnd: false,
    retention: { ms: false, bytes: false, compact: false },
  });
}

/** The most that the driver can do, by adapter name. Options narrow it. */
export const capabilities: { readonly rabbitmq: Capabilities } = frozen({ rabbitmq: queues });

export type RabbitMqFeatures = Features & {
  readonly groups: true;
  readonly replay: true;
  readonly seek: false;
  readonly lag: true;
  readonly delay: true;
  readonly keyOrder: true;
  readonly atLeastOnce: true;
};

export type RabbitMqQueueFeatures = Omit<RabbitMqFeatures, "replay"> & { readonly replay: false };

/** The boolean views of the record above, with a log and without, as literals. */
export const features: { readonly rabbitmq: RabbitMqFeatures; readonly withoutLog: RabbitMqQueueFeatures } = frozen({
  rabbitmq: { groups: true, replay: true, seek: false, lag: true, delay: true, keyOrder: true, atLeastOnce: true },
  withoutLog: { groups: true, replay: false, seek: false, lag: true, delay: true, keyOrder: true, atLeastOnce: true },
});
