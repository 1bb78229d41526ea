import { SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { BrokerOptions, BrokerRecipe, RunningBroker } from "@brokerkit/conformance/brokers";
import { DriverStage } from "@brokerkit/conformance/driver-stage";
import type { WireDelivery } from "brokerkit/driver";
import { afterAll, afterEach } from "vitest";
import { type FakeAws, type FakeRule, startFakeAws } from "../fake-aws.ts";
import { fauxqs, REGION } from "../recipe.ts";

export { fresh, ids, outcomes, type Reader, record, records, soon, store, until } from "@brokerkit/conformance/driver-stage";

const stage = new DriverStage({ afterEach, afterAll });
export const { connecting, defer, open, proxied, read } = stage;

export type Address = Pick<RunningBroker, "host" | "port">;

/** A private emulator of this test file. */
export const startServer = (recipe: BrokerRecipe = fauxqs, options?: BrokerOptions): Promise<RunningBroker> =>
  stage.broker(recipe, options);

/** What AWS refuses, in front of an emulator. */
export async function faked(server: Address, rule?: FakeRule): Promise<FakeAws> {
  const fake = await startFakeAws(server, rule);
  defer(() => fake.close());
  return fake;
}

const access = { accessKeyId: "test", secretAccessKey: "test" } as const;

/** Options of the factories. */
export const at = ({ host, port }: Address): { endpoint: string; region: string; accessKeyId: string; secretAccessKey: string } => ({
  endpoint: `http://${host}:${port}`,
  region: REGION,
  ...access,
});

/** Clients that know nothing of brokerkit. */
export function plain({ host, port }: Address): { readonly sqs: SQSClient; readonly sns: SNSClient } {
  const common = { endpoint: `http://${host}:${port}`, region: REGION, credentials: { ...access }, maxAttempts: 1 };
  const clients = { sqs: new SQSClient({ ...common, useQueueUrlAsEndpoint: false }), sns: new SNSClient(common) };
  defer(async () => Object.values(clients).forEach((client) => void client.destroy()));
  return clients;
}

export function texts(deliveries: readonly WireDelivery[]): (string | null)[] {
  return deliveries.map(({ body }) => (body === null ? null : Buffer.from(body).toString()));
}
