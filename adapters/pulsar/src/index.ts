import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { capabilities, features, type PulsarFeatures } from "./capabilities.ts";
import { PulsarDriver } from "./driver.ts";
import { checkOptions, endpointOf, optionsOf, type PulsarOptions, settingsOf } from "./options.ts";

export type { PulsarFeatures } from "./capabilities.ts";
export type { PulsarOptions, PulsarTls } from "./options.ts";

/** A factory of adapters that also reads URLs. */
export interface PulsarFactory {
  (options?: PulsarOptions): Adapter<PulsarFeatures>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter<PulsarFeatures>;
}

function adapter(options: PulsarOptions = {}): Adapter<PulsarFeatures> {
  checkOptions(options);
  const [endpoint, settings] = [endpointOf(options), settingsOf(options)];
  return {
    name: "pulsar",
    spi: 1,
    capabilities: capabilities.pulsar,
    features: features.pulsar,
    open: (context) => new PulsarDriver(endpoint, settings, context),
  };
}

/**
 * Apache Pulsar: groups with order by key, replay, delays, dead letters; `pulsar:` and `pulsar+ssl:` URLs. Made for Pulsar 4.0.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is connected before `connect`.
 */
export const pulsar: PulsarFactory = Object.assign(adapter, {
  schemes: ["pulsar", "pulsar+ssl"],
  fromUrl: (url: BrokerUrl) => adapter(optionsOf(url)),
});
