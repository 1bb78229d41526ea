import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { capabilities, features, type KafkaFeatures } from "./capabilities.ts";
import { KafkaDriver } from "./driver.ts";
import { behaviourOf, checkOptions, endpointOf, type KafkaOptions, optionsOf } from "./options.ts";

export type { KafkaTopicOptions } from "./admin.ts";
export type { KafkaFeatures } from "./capabilities.ts";
export type { KafkaNaming, KafkaOptions, KafkaSasl, KafkaTls } from "./options.ts";

/** A factory of adapters that also reads URLs. */
export interface KafkaFactory {
  (options?: KafkaOptions): Adapter<KafkaFeatures>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter<KafkaFeatures>;
}

function adapter(options: KafkaOptions = {}): Adapter<KafkaFeatures> {
  checkOptions(options);
  const [endpoint, behaviour] = [endpointOf(options), behaviourOf(options)];
  return {
    name: "kafka",
    spi: 1,
    capabilities: capabilities.kafka,
    features: features.kafka,
    open: (context) => new KafkaDriver(endpoint, behaviour, context),
  };
}

/**
 * Kafka topics: groups, replay, order by key in partitions, dead letters; `kafka:` and `kafkas:` (TLS) URLs. Needs Kafka 3.5 or newer.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is loaded or connected before `connect`.
 */
export const kafka: KafkaFactory = Object.assign(adapter, {
  schemes: ["kafka", "kafkas"],
  fromUrl: (url: BrokerUrl) => adapter(optionsOf(url)),
});
