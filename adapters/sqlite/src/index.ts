import type { Adapter, AdapterFactory, BrokerUrl } from "brokerkit/driver";
import { capabilities, features } from "./capabilities.ts";
import { SqliteDriver } from "./driver.ts";
import { optionsOf, type SqliteOptions, settings } from "./options.ts";

export type { SqliteOptions } from "./options.ts";

function open(options: SqliteOptions): Adapter<typeof features> {
  const checked = settings(options);
  return {
    name: "sqlite",
    spi: 1,
    capabilities: capabilities.sqlite,
    features,
    open: (context) => new SqliteDriver(checked, context),
  };
}

/**
 * A durable broker in one file, for one machine: `sqlite({ path: "orders.db" })`, or by URL `sqlite:orders.db?leaseMs=2000`.
 * Any number of processes may open the file at once. Throws `INVALID_ARGUMENT` for options that are unknown or out of range.
 */
export const sqlite: ((options: SqliteOptions) => Adapter<typeof features>) & AdapterFactory = Object.assign(open, {
  schemes: ["sqlite"],
  fromUrl: (url: BrokerUrl) => open(optionsOf(url)),
});
