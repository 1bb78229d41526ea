import { inspect } from "node:util";
import { redis } from "@brokerkit/redis";
import { type Adapter, type Broker, createBroker, defineTopic } from "brokerkit";
import { z } from "zod";

export function withTls(ca: string, password: string): Adapter {
  // #region tls
  const adapter = redis({
    host: "redis.internal",
    port: 6380,
    username: "orders",
    password,
    tls: { ca }, // PEM; without it the system's authorities count. The certificate is always verified
  });
  // #endregion
  return adapter;
}

export function printed(password: string): string {
  // #region secrets
  const broker = createBroker(`redis://orders:${encodeURIComponent(password)}@redis.internal:6379`);
  return `${inspect(broker, { depth: 10, showHidden: true })} ${JSON.stringify(broker)}`; // the password is in neither
  // #endregion
}

export function stage(name: string): Broker {
  // #region prefix
  const broker = createBroker("memory:", { prefix: `${name}.`, provision: "verify" });
  // #endregion
  return broker;
}

// #region limits
export const comments = defineTopic("comments", {
  schema: z.object({ author: z.string().max(100), text: z.string().max(10_000) }),
});
// #endregion
