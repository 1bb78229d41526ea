import { type BrokerOptions, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { DriverStage, fresh, type Opened, soon } from "@brokerkit/conformance/driver-stage";
import type { TopicSpec } from "brokerkit/driver";
import { afterAll, afterEach } from "vitest";
import { adminOf, recipe } from "../recipe.ts";
import { type PulsarOptions, pulsar } from "../src/index.ts";

export { failure, fresh, ids, outcomes, type Reader, record, records, soon, store, until } from "@brokerkit/conformance/driver-stage";

const stage = new DriverStage({ afterEach, afterAll });
export const { atLast, connecting, defer, open, proxied, read, replay } = stage;

/** A broker that tests share and do no harm to. */
export async function usualServer(): Promise<RunningBroker> {
  const broker = await startBroker(recipe);
  atLast(() => broker.close());
  return broker;
}

/** A private broker of this test file. */
export const startServer = (options?: BrokerOptions): Promise<RunningBroker> => stage.broker(recipe, options);

/** How to reach a broker; `through`: by way of a proxy. */
export function at(broker: RunningBroker, through: Pick<RunningBroker, "host" | "port"> = broker): PulsarOptions {
  return { servers: `${through.host}:${through.port}`, tunnel: true, adminUrl: adminOf(broker) };
}

export interface OpenedTopic extends Opened {
  readonly topic: string;
}

/** A driver with a topic of its own. */
export async function topicOn(options: PulsarOptions, spec: Omit<TopicSpec, "name"> = {}): Promise<OpenedTopic> {
  const opened = await open(pulsar(options));
  const topic = fresh();
  await opened.driver.admin.createTopic({ name: topic, ...spec }, soon());
  return { ...opened, topic };
}
