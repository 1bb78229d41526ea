import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { type CoreFeatures, capabilities, features, type JetStreamFeatures } from "./capabilities.ts";
import { CoreDriver } from "./core/driver.ts";
import { JetStreamDriver } from "./jetstream/driver.ts";
import { CORE, checkOptions, endpointOf, JETSTREAM, type NatsCoreOptions, type NatsOptions, optionsOf } from "./options.ts";

export type { CoreFeatures, JetStreamFeatures } from "./capabilities.ts";
export type { NatsTopicOptions } from "./jetstream/admin.ts";
export type { NatsConnectionOptions, NatsCoreOptions, NatsOptions, NatsTls } from "./options.ts";

/** A factory of adapters that also reads URLs. */
export interface NatsFactory<Options, F extends Adapter["features"]> {
  (options?: Options): Adapter<F>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter<F>;
}

function jetstream(options: NatsOptions = {}): Adapter<JetStreamFeatures> {
  checkOptions(options, JETSTREAM);
  const endpoint = endpointOf(options);
  const { leaseMs = capabilities.nats.lease.ms, dedupeMs = 120_000, maxUnacked = 10_000, replicas = 1, domain } = options;
  const settings = { leaseMs, dedupeMs, maxUnacked, replicas, domain };
  return {
    name: "nats",
    spi: 1,
    capabilities: capabilities.nats,
    features: features.nats,
    open: (context) => new JetStreamDriver(endpoint, settings, context),
  };
}

function core(options: NatsCoreOptions = {}): Adapter<CoreFeatures> {
  checkOptions(options, CORE);
  const endpoint = endpointOf(options);
  const { bufferBytes = 16_777_216 } = options;
  return {
    name: "nats+core",
    spi: 1,
    capabilities: capabilities["nats+core"],
    features: features["nats+core"],
    open: (context) => new CoreDriver(endpoint, bufferBytes, context),
  };
}

/**
 * NATS JetStream: groups, replay, dead letters; `nats:` and `nats+tls:` (or `tls:`) URLs. Needs nats-server 2.9 or newer with JetStream.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is connected before `connect`.
 */
export const nats: NatsFactory<NatsOptions, JetStreamFeatures> = Object.assign(jetstream, {
  schemes: ["nats", "nats+tls", "tls"],
  fromUrl: (url: BrokerUrl) => jetstream(optionsOf(url, JETSTREAM)),
});

/**
 * Core NATS: live broadcast, at most once; `nats+core:` and `nats+core+tls:` URLs. Throws `INVALID_ARGUMENT` for options that are unknown
 * or out of bounds. Nothing is connected before `connect`.
 */
export const natsCore: NatsFactory<NatsCoreOptions, CoreFeatures> = Object.assign(core, {
  schemes: ["nats+core", "nats+core+tls"],
  fromUrl: (url: BrokerUrl) => core(optionsOf(url, CORE)),
});
