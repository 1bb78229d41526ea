import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { BrokerOptions, RunningBroker } from "@brokerkit/conformance/brokers";
import { DriverStage, failure, fresh, soon } from "@brokerkit/conformance/driver-stage";
import { type ChannelModel, connect } from "amqplib";
import type { Driver } from "brokerkit/driver";
import { afterAll, afterEach } from "vitest";
import { recipe } from "../recipe.ts";

export { fresh, ids, outcomes, type Reader, reconnected, record, records, soon, store, until } from "@brokerkit/conformance/driver-stage";

const stage = new DriverStage({ afterEach, afterAll });
const { atLast } = stage;
export const { connecting, defer, open, proxied, read, replay } = stage;

export interface Server {
  readonly broker: RunningBroker;
  /** `rabbitmqctl` for this server; gives what it prints. */
  control(...args: string[]): Promise<string>;
}

/** A private server of this test file. Options are the recipe's. */
export async function startServer(options: BrokerOptions = {}): Promise<Server> {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-control-"));
  atLast(() => rm(folder, { recursive: true }));
  const script = join(folder, "control.sh");
  const broker = await stage.broker(recipe, { control: script, ...options });
  return { broker, control: async (...args) => (await promisify(execFile)("sh", [script, ...args])).stdout };
}

export type At = Pick<RunningBroker, "host" | "port">;

export const at = ({ host, port }: At): { servers: string } => ({ servers: `${host}:${port}` });

/** The code of what a call rejects with; "done" when it does not. */
export async function codeOf(driver: Driver, call: Promise<unknown>): Promise<string> {
  return (await failure(driver, call)).code;
}

/** A topic that nobody has used. */
export async function topicOn(driver: Driver, native?: unknown): Promise<string> {
  const name = fresh();
  await driver.admin.createTopic({ name, native }, soon());
  return name;
}

/** A client that knows nothing of brokerkit. */
export async function plain({ host, port }: At): Promise<ChannelModel> {
  const client = await connect(`amqp://${host}:${port}`);
  client.on("error", () => {});
  defer(() => client.close().catch(() => {}));
  return client;
}
