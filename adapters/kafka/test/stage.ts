import { type BrokerOptions, type BrokerRecipe, type RunningBroker, reservePort, startBroker } from "@brokerkit/conformance/brokers";
import { recipe } from "../recipe.ts";

/** A private server, which may be killed, frozen and restarted. Whoever starts it closes it. */
export function startKafka(options: BrokerOptions = {}): Promise<RunningBroker> {
  return startBroker(recipe, { destructive: true, options });
}

/** Three servers of one cluster, in the order of their node numbers from 1 on; the first one is the controller too, and its end is that of the cluster. */
export interface RunningCluster extends AsyncDisposable {
  readonly nodes: readonly [RunningBroker, RunningBroker, RunningBroker];
  readonly addresses: readonly string[];
  close(): Promise<void>;
}

/** A private cluster, with three copies of everything. Whoever starts it closes it. */
export async function startCluster(options: BrokerOptions = {}): Promise<RunningCluster> {
  const port = await reservePort();
  const all: BrokerOptions = {
    controller: `127.0.0.1:${port.port}`,
    "default.replication.factor": "3",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "3",
    "replica.lag.time.max.ms": "2000",
    ...options,
  };
  const starting = ["1", "2", "3"].map((node) => startKafka({ ...all, node }));
  const close = async (): Promise<void> => {
    for (const started of await Promise.allSettled(starting)) if (started.status === "fulfilled") await started.value.close();
    await port.release();
  };
  try {
    const nodes = (await Promise.all(starting)) as unknown as RunningCluster["nodes"];
    return { nodes, addresses: nodes.map(({ host, port }) => `${host}:${port}`), close, [Symbol.asyncDispose]: close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** The server's recipe under a limit for the size of each file, at which writing fails as it does on a full disk. */
export function limitedTo(bytes: number): BrokerRecipe {
  const { process } = recipe;
  if (process === undefined) throw new Error("the recipe has no process");
  return {
    ...recipe,
    process: {
      ...process,
      binaries: ["prlimit"],
      debian: "util-linux",
      prepare: (place) => process.prepare?.({ ...place, binary: "java" }) ?? [],
      args: (place) => [`--fsize=${bytes}`, "java", ...process.args(place)],
    },
  };
}
