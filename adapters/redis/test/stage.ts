import type { BrokerOptions, BrokerRecipe, RunningBroker } from "@brokerkit/conformance/brokers";
import { DriverStage } from "@brokerkit/conformance/driver-stage";
import { createClient, RESP_TYPES } from "@redis/client";
import { afterAll, afterEach } from "vitest";
import { harness } from "../harness.ts";

export {
  fresh,
  ids,
  type Loss,
  outcomes,
  type Reader,
  reconnected,
  record,
  records,
  soon,
  store,
  until,
} from "@brokerkit/conformance/driver-stage";

const stage = new DriverStage({ afterEach, afterAll });
export const { connecting, defer, open, read } = stage;

/** A private server of this test file. */
export const startServer = (options?: BrokerOptions): Promise<RunningBroker> => stage.broker(harness.broker as BrokerRecipe, options);

/** A client that knows nothing of brokerkit: sends commands, answers with texts. */
export interface Plain {
  call(...args: (string | Buffer)[]): Promise<unknown>;
  listen(channel: string, hear: (body: Buffer) => void): Promise<void>;
}

export async function plain({ host, port }: Pick<RunningBroker, "host" | "port">, tls?: { readonly ca: Buffer }): Promise<Plain> {
  const socket = { host, port, reconnectStrategy: false as const, ...(tls === undefined ? {} : { tls: true as const, ca: tls.ca }) };
  const client = createClient({ socket, RESP: 2 });
  client.on("error", () => {});
  await client.connect();
  defer(async () => client.destroy());
  return {
    call: (...args) => client.sendCommand(args),
    listen: async (channel, hear) =>
      void (await client.withTypeMapping({ [RESP_TYPES.BLOB_STRING]: Buffer }).subscribe(channel, hear, true)),
  };
}
