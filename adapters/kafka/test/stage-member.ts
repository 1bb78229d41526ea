import { systemClock as clock } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { until } from "@brokerkit/conformance/faults";
import { afterEach } from "vitest";
import type { Behaviour } from "../src/options.ts";
import { Cluster } from "../src/protocol/cluster.ts";
import { createMembership } from "../src/protocol/group-reader.ts";
import type { Assigned, Membership } from "../src/protocol/membership.ts";

const afterTest: (() => unknown)[] = [];
afterEach(async () => {
  for (const undo of afterTest.splice(0).reverse()) await undo();
});

/** Runs when the test is over, last first. */
export function defer(undo: () => unknown): void {
  afterTest.push(undo);
}

export type Protocol = Behaviour["groupProtocol"];

let names = 0;
export function fresh(what: string): string {
  names += 1;
  return `${what}-${process.pid}-${names}`;
}

export const soon = (ms = 20_000): AbortSignal => AbortSignal.timeout(ms);

/** Opens a cluster, by way of an address of its own where one is given; closed when the test is over. */
export async function openCluster(broker: RunningBroker, via: { readonly host: string; readonly port: number } = broker): Promise<Cluster> {
  const bootstrap = [{ host: via.host, port: via.port }];
  const endpoint = { bootstrap, clientId: "member-test", connectTimeoutMs: 5_000, tunnel: via !== broker, sasl: undefined, tls: undefined };
  const cluster = await Cluster.open(endpoint, clock, soon());
  defer(() => cluster.close());
  return cluster;
}

export async function createTopic(cluster: Cluster, partitions: number, name: string = fresh("topic")): Promise<string> {
  await cluster.ask("any", "CreateTopics", [
    [{ name, numPartitions: partitions, replicationFactor: 1, assignments: [], configs: [] }],
    10_000,
    false,
  ]);
  return name;
}

export async function growTopic(cluster: Cluster, name: string, partitions: number): Promise<void> {
  const line = cluster.line();
  const { async } = cluster.client.createPartitionsV3.api;
  await line.call("any", async, [[{ name, count: partitions, assignments: null }], 10_000, false]);
  line.close();
}

/** Sets how long sessions of the group last under KIP-848. */
export async function setSession(cluster: Cluster, groupId: string, ms: number): Promise<void> {
  const line = cluster.line();
  const { async } = cluster.client.incrementalAlterConfigsV1.api;
  const configs = [{ name: "consumer.session.timeout.ms", configOperation: 0, value: String(ms) }] as const;
  await line.call("any", async, [[{ resourceType: 32, resourceName: groupId, configs: [...configs] }], false]);
  line.close();
  const resources = [{ resourceType: 32 as const, resourceName: groupId, configurationKeys: [configs[0].name] }];
  const known = async (): Promise<boolean> => {
    const { results } = await cluster.ask("any", "DescribeConfigs", [resources, false, false]);
    return results[0]?.configs[0]?.value === String(ms);
  };
  await until(known, { timeoutMs: 10_000, what: "the setting to be known" });
}

const keyOf = ({ topic, partition }: Assigned): string => `${topic}:${partition}`;

/** Who owns what, as the members are told; notes when two own one partition at a time. */
export class Ledger {
  readonly owners = new Map<string, string>();
  readonly overlaps: string[] = [];
  /** What happened, in order: `<member> <event> <partition>`. */
  readonly story: string[] = [];
  readonly #partitions: readonly string[];

  constructor(topic: string, partitions: number) {
    this.#partitions = Array.from({ length: partitions }, (_, partition) => keyOf({ topic, partition }));
  }

  gained(member: string, partitions: readonly Assigned[]): void {
    for (const key of partitions.map(keyOf)) {
      const owner = this.owners.get(key);
      if (owner !== undefined) this.overlaps.push(`${member} was given ${key}, which ${owner} had`);
      this.owners.set(key, member);
      this.story.push(`${member} assigned ${key}`);
    }
  }

  gone(member: string, partitions: readonly Assigned[], how: string): void {
    for (const key of partitions.map(keyOf)) {
      this.story.push(`${member} ${how} ${key}`);
      if (this.owners.get(key) === member) this.owners.delete(key);
    }
  }

  sizes(): readonly number[] {
    return [...Map.groupBy(this.owners.values(), (owner) => owner).values()].map(({ length }) => length).sort((a, b) => a - b);
  }

  /** Resolves when every partition has an owner, and owners have that many each. */
  rest(...sizes: readonly number[]): Promise<unknown> {
    const wanted = [...sizes].sort((a, b) => a - b).join();
    return until(() => this.#partitions.every((key) => this.owners.has(key)) && this.sizes().join() === wanted, {
      timeoutMs: 15_000,
      what: `partitions owned as ${wanted}`,
      detail: () => `${JSON.stringify([...this.owners])}\n${this.story.join("\n")}`,
    });
  }
}

export interface Joining {
  readonly cluster: Cluster;
  readonly groupId: string;
  readonly topics: readonly string[];
  readonly ledger: Ledger;
  readonly name: string;
  readonly protocol: Protocol;
  readonly instanceId?: string;
  readonly sessionMs?: number;
  readonly rebalanceMs?: number;
  readonly signal?: AbortSignal;
  /** What the member does before it gives partitions up. */
  readonly giving?: (partitions: readonly Assigned[]) => Promise<void>;
}

export interface Joined {
  readonly membership: Membership;
  readonly failures: unknown[];
}

/** Joins; the member leaves when the test is over. */
export async function join(options: Joining): Promise<Joined> {
  const {
    cluster,
    groupId,
    topics,
    ledger,
    name,
    protocol,
    instanceId,
    sessionMs = 1_500,
    rebalanceMs = 10_000,
    signal = soon(),
    giving,
  } = options;
  const failures: unknown[] = [];
  const membership = createMembership(cluster, {
    groupId,
    topics,
    behaviour: { groupProtocol: protocol, instanceId, sessionTimeoutMs: sessionMs, rebalanceTimeoutMs: rebalanceMs, heartbeatMs: 200 },
    events: {
      assigned: (partitions) => ledger.gained(name, partitions),
      lost: (partitions) => ledger.gone(name, partitions, "lost"),
      failed: (error) => failures.push(error),
      revoked: async (partitions) => {
        await giving?.(partitions);
        ledger.gone(name, partitions, "revoked");
      },
    },
  });
  defer(() => membership.leave());
  await membership.join(signal);
  return { membership, failures };
}

/** Leaves, as a subscription that closes does: nothing is owned from then on. */
export async function leave({ membership }: Joined, ledger: Ledger, name: string): Promise<void> {
  ledger.gone(name, membership.owned, "left");
  await membership.leave();
}
