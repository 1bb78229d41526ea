import type { Capabilities } from "brokerkit/driver";
import { classify } from "../errors.ts";
import type { Settings } from "../options.ts";
import type { ServerFacts } from "../transport.ts";
import { LANES } from "./options.ts";
import type { Rest } from "./rest.ts";

/** What a message has besides key, headers and body: its metadata, and the frames' heads. */
const OVERHEAD_BYTES = 4_096;
/** Of what a broker lets one consumer have unacknowledged, the share that core may hold; the rest is on its way. */
const HOLD_SHARE = 0.8;

/** What brokers say of themselves by their admin service. */
interface Facts extends ServerFacts {
  readonly batchIndexAck: boolean;
  readonly ackQuorum: number | undefined;
  /** 0: no bound. */
  readonly maxUnacked: number | undefined;
}

/** Whoever may not ask gets the least. */
export async function factsOf(rest: Rest | undefined, namespace: string, signal: AbortSignal): Promise<Omit<Facts, keyof ServerFacts>> {
  const nothing = { batchIndexAck: false, ackQuorum: undefined, maxUnacked: undefined };
  if (rest === undefined) return nothing;
  const allowed = <T>(asked: Promise<T>): Promise<T | undefined> =>
    asked.catch((error: unknown) => {
      if (classify(error).code === "FORBIDDEN") return undefined;
      throw error;
    });
  const [configuration, quorum, unacked] = await Promise.all([
    allowed(rest.runtimeConfiguration(signal)),
    allowed(rest.namespaceAckQuorum(namespace, signal)),
    allowed(rest.namespaceMaxUnacked(namespace, signal)),
  ]);
  if (configuration === undefined) return { ...nothing, ackQuorum: quorum, maxUnacked: unacked };
  return {
    batchIndexAck: configuration["acknowledgmentAtBatchIndexLevelEnabled"] === "true",
    ackQuorum: quorum ?? Number(configuration["managedLedgerDefaultAckQuorum"]),
    maxUnacked: unacked ?? Number(configuration["maxUnackedMessagesPerConsumer"]),
  };
}

/** The record with what brokers and options take from it, never more than it was. */
export function narrowed(record: Capabilities, facts: Facts, settings: Settings): Capabilities {
  const { maxMessageSize, batchIndexAck, ackQuorum, maxUnacked } = facts;
  const maxBytes = Math.min(record.message.maxBytes, maxMessageSize - OVERHEAD_BYTES);
  const bound = maxUnacked === undefined || maxUnacked === 0 ? Number.POSITIVE_INFINITY : Math.floor(maxUnacked * HOLD_SHARE);
  const alone = settings.admin === undefined;
  return Object.freeze({
    ...record,
    durabilityOnAck: ackQuorum === undefined ? "page-cache" : ackQuorum >= 2 ? "replicated" : "fsync",
    publish: Object.freeze({ ...record.publish, maxBytes: Math.max(8_388_608, maxBytes) }),
    settle: batchIndexAck ? record.settle : Object.freeze({ unit: "entry", ack: "recorded" }),
    hold: Object.freeze({ ...record.hold, maxUnacked: Math.min(record.hold.maxUnacked, bound) }),
    // Who is served alone gets everything in order, whatever it was to wait for.
    ...(settings.subscriptionType === "failover" ? { delay: Object.freeze({ maxMs: 0 }) } : {}),
    keyOrder: settings.subscriptionType === "shared" ? "none" : record.keyOrder,
    message: Object.freeze({ ...record.message, maxBytes }),
    ...(alone ? unadministered(record) : {}),
    ...(settings.transport === "native" ? grouped(record, maxBytes) : {}),
  });
}

/** What is left without the admin service. */
function unadministered(record: Capabilities): Partial<Capabilities> {
  return {
    from: Object.freeze({ ...record.from, group: Object.freeze(["latest", "earliest"] as const) }),
    seek: "none",
    groupInbox: "none",
    lag: Object.freeze({ ...record.lag, count: "none", inFlight: false, oldest: false }),
    topics: Object.freeze({ ...record.topics, describe: false }),
    retention: Object.freeze({ ms: false, bytes: false, compact: false }),
  };
}

/** What is left by the official client, which reads by groups only. */
function grouped(record: Capabilities, maxBytes: number): Partial<Capabilities> {
  return {
    delivery: Object.freeze({ ...record.delivery, broadcast: "none" }),
    from: Object.freeze({ ...record.from, broadcast: Object.freeze([]), replay: Object.freeze([]) }),
    message: Object.freeze({ ...record.message, maxBytes, tombstone: false }),
  };
}

/** The record of one topic. Without retention what is acknowledged is gone at once, so that nothing is left to replay. */
export function ofTopic(record: Capabilities, partitions: number, kept: boolean): Capabilities {
  // Keys share lanes, each with an order of its own; only a single partition keeps one order for all.
  const topics = Object.freeze({ ...record.topics, partitions: partitions === 0 ? LANES : partitions });
  if (kept) return Object.freeze({ ...record, topics });
  const delivery = Object.freeze({ ...record.delivery, broadcast: "at-most-once" as const });
  const from = Object.freeze({ ...record.from, broadcast: Object.freeze(["latest"] as const), replay: Object.freeze([]) });
  return Object.freeze({ ...record, topics, delivery, from });
}
