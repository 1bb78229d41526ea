// #region factory
import { type Adapter, type AdapterFactory, type BrokerUrl, driverError } from "brokerkit/driver";
import { capabilities, features } from "./capabilities.ts";
import { ShelfDriver } from "./driver.ts";
import { Shelf } from "./shelf.ts";

export interface ShelfOptions {
  /** Which shelf: all brokers of one process that name the same one share it. */
  readonly name: string;
}

const shelves = new Map<string, Shelf>();

function open(options: ShelfOptions): Adapter<typeof features> {
  for (const key of Object.keys(options)) {
    if (key !== "name") throw driverError("INVALID_ARGUMENT", `A shelf has no option "${key}". Known: name.`);
  }
  const { name } = options;
  if (typeof name !== "string" || name === "") throw driverError("INVALID_ARGUMENT", "A shelf needs a name.");
  return {
    name: "shelf",
    spi: 1,
    capabilities: capabilities.shelf,
    features,
    open: (context) => {
      const shelf = shelves.get(name) ?? new Shelf();
      shelves.set(name, shelf);
      return new ShelfDriver(shelf, context);
    },
  };
}

/** `shelf:books`: core has parsed the URL, the factory says what its parts mean and refuses the rest. */
function fromUrl(url: BrokerUrl): Adapter {
  if (url.hosts.length > 0) throw driverError("INVALID_ARGUMENT", "A shelf has no host: write shelf:name.");
  return open({ name: url.path, ...Object.fromEntries(url.options) });
}

export const shelf: ((options: ShelfOptions) => Adapter<typeof features>) & AdapterFactory = Object.assign(open, {
  schemes: ["shelf"],
  fromUrl,
});
// #endregion
