import { type AdapterHarness, defineHarness, type Harness, type Site } from "@brokerkit/conformance";
import type { Capabilities } from "brokerkit/driver";
import { type MemoryOptions, memory } from "./src/index.ts";
import { findWorld } from "./src/scripts/world.ts";

const ANYWHERE = ["latest", "earliest", "time", "position"] as const;
const LEASE_MS = 4_000;

const expected: Capabilities = {
  delivery: { group: "at-least-once", broadcast: "at-least-once", groups: Number.POSITIVE_INFINITY },
  durable: false,
  durabilityOnAck: "memory",
  publish: { maxRecords: 1_000, maxBytes: 67_108_864, inFlight: 1, order: "call" },
  settle: { unit: "message", ack: "confirmed" },
  receive: { maxRecords: 1_000, concurrency: 16, maxWaitMs: Number.POSITIVE_INFINITY },
  redelivery: { native: true, maxDelayMs: Number.POSITIVE_INFINITY, counted: "failures" },
  lease: { ms: LEASE_MS, extend: true },
  hold: { maxMs: Number.POSITIVE_INFINITY, maxUnacked: Number.POSITIVE_INFINITY, scope: "shard" },
  keyOrder: "members",
  coordination: false,
  from: { group: ANYWHERE, broadcast: ANYWHERE, replay: ["earliest", "time", "position"] },
  seek: "live",
  cursorEnd: true,
  delay: { maxMs: Number.POSITIVE_INFINITY },
  ttl: { maxMs: Number.POSITIVE_INFINITY },
  priority: { levels: 10 },
  dedupe: { windowMs: 5_000 },
  groupInbox: "native",
  lag: { count: "exact", unit: "message", inFlight: true, oldest: true },
  places: { perDelivery: true, dense: true },
  topics: { explicit: true, partitions: 1_024, describe: true },
  retention: { ms: true, bytes: true, compact: true },
  message: { maxBytes: 16_777_216, maxHeaders: 1_000, key: true, headers: true, tombstone: true },
};

/** Takes what retention would: all but the newest `keep` of a topic, counted over its shards. */
async function expire(world: string, topic: string, keep: number): Promise<void> {
  const logs = findWorld(world)?.topics.get(topic)?.logs ?? [];
  const stored = logs.flatMap((log) => [...log.from(0)].map(({ seq, storedAt }) => ({ log, seq, storedAt })));
  const oldest = stored.sort((a, b) => a.storedAt - b.storedAt || a.seq - b.seq).slice(0, Math.max(0, stored.length - keep));
  for (const { log, seq } of oldest) log.take(seq + 1);
}

function harnessOf(name: string, record: Capabilities, options: MemoryOptions): AdapterHarness {
  // Two adapters in one run number their sites alike.
  const worldOf = (site: Site): string => `${name} at ${site.name}`;
  return {
    name,
    // Another process would find an empty world.
    url: () => undefined,
    adapter: (site) => memory({ ...options, world: worldOf(site) }),
    expected: record,
    provoke: { expire: (site, topic, keep) => expire(worldOf(site), topic, keep) },
  };
}

/** Memory as an adapter's record describes it, with short leases where it has leases. */
export function personality(name: string, record: Capabilities): AdapterHarness {
  const { lease } = record;
  const options = { like: record, likeName: name, ...(lease.ms === 0 ? {} : { leaseMs: LEASE_MS }) };
  return harnessOf(`memory?like=${name}`, { ...record, lease: { ...lease, ms: lease.ms === 0 ? 0 : LEASE_MS } }, options);
}

export const harness: Harness = defineHarness({ name: "memory", adapters: [harnessOf("memory", expected, { leaseMs: LEASE_MS })] });
