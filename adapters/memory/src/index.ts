import type { Adapter, AdapterFactory, Capabilities, Features } from "brokerkit/driver";
import { features, type MemoryFeatures } from "./capabilities.ts";
import { MemoryDriver } from "./driver.ts";
import { checkOptions, type MemoryOptions, optionsOf, recordOf } from "./options.ts";
import { namedWorld, World } from "./scripts/world.ts";

export type { MemoryOptions } from "./options.ts";

function make(options: MemoryOptions): Adapter {
  checkOptions(options);
  const record = recordOf(options);
  const world = options.world === undefined ? new World(record) : namedWorld(options.world, record);
  return Object.freeze({
    name: options.like === undefined ? "memory" : `memory?like=${options.likeName ?? "custom"}`,
    spi: 1 as const,
    capabilities: record,
    features: options.like === undefined ? features : featuresOf(record),
    open: (context): MemoryDriver => new MemoryDriver(world, context.clock),
  } satisfies Adapter);
}

function featuresOf({ delivery, from, seek, lag, delay, keyOrder, coordination }: Capabilities): Features {
  return Object.freeze({
    groups: delivery.group !== "none",
    replay: from.replay.length > 0,
    seek: seek !== "none",
    lag: lag.count !== "none",
    delay: delay.maxMs > 0,
    keyOrder: keyOrder === "members" || coordination,
    atLeastOnce: delivery.group === "at-least-once",
  });
}

/**
 * A broker inside this process: topics, groups and replay without anything installed; gone with the process.
 * Brokers that connect to one adapter value share its topics, and so do adapter values of one `world`.
 * With `like` it behaves as that capability record says. Throws `INVALID_ARGUMENT` for options that it does not know.
 */
function factory(options?: MemoryOptions & { readonly like?: undefined }): Adapter<MemoryFeatures>;
function factory(options: MemoryOptions): Adapter;
function factory(options: MemoryOptions = {}): Adapter {
  return make(options);
}

export const memory: typeof factory & AdapterFactory = Object.assign(factory, {
  schemes: Object.freeze(["memory"]),
  fromUrl: async (url: Parameters<AdapterFactory["fromUrl"]>[0], context: Parameters<AdapterFactory["fromUrl"]>[1]) =>
    make(await optionsOf(url, context)),
});
