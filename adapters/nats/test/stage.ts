import type { BrokerOptions, BrokerRecipe, RunningBroker } from "@brokerkit/conformance/brokers";
import { DriverStage } from "@brokerkit/conformance/driver-stage";
import { connect, type NatsConnection } from "nats";
import { afterAll, afterEach } from "vitest";
import { harness } from "../harness.ts";

export { fresh, ids, outcomes, type Reader, record, records, soon, store, until } from "@brokerkit/conformance/driver-stage";

const stage = new DriverStage({ afterEach, afterAll });
export const { connecting, defer, open, proxied, read, replay } = stage;

/** A private server of this test file. */
export const startServer = (options?: BrokerOptions): Promise<RunningBroker> => stage.broker(harness.broker as BrokerRecipe, options);

export const at = ({ host, port }: Pick<RunningBroker, "host" | "port">): { servers: string } => ({ servers: `${host}:${port}` });

/** A client that knows nothing of brokerkit. */
export async function plain({ host, port }: Pick<RunningBroker, "host" | "port">): Promise<NatsConnection> {
  const client = await connect({ servers: `${host}:${port}`, reconnect: false });
  defer(() => client.close());
  return client;
}

/** One call of JetStream's API, by hand. */
export async function api(client: NatsConnection, call: string, body: object = {}): Promise<Record<string, unknown>> {
  return (await client.request(`$JS.API.${call}`, JSON.stringify(body))).json<Record<string, unknown>>();
}
