import type { Cluster, Node } from "./cluster.ts";

/** What a setting belongs to: https://kafka.apache.org/protocol#The_Messages_DescribeConfigs */
const KINDS = { topic: 2, broker: 4 } as const;

/** Settings of a topic or of a server, by Kafka's names, those inherited included. What is secret, or has no value, is missing. */
export async function readSettings(
  cluster: Cluster,
  node: Node,
  kind: keyof typeof KINDS,
  name: string,
  names: readonly string[],
  signal: AbortSignal,
): Promise<ReadonlyMap<string, string>> {
  const resource = { resourceType: KINDS[kind], resourceName: name, configurationKeys: [...names] };
  const { results } = await cluster.ask(node, "DescribeConfigs", [[resource], false, false], signal);
  return new Map((results[0]?.configs ?? []).flatMap(({ name: key, value }) => (typeof value === "string" ? [[key, value] as const] : [])));
}
