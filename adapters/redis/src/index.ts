import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { capabilities, features, type PubSubFeatures, type StreamsFeatures } from "./capabilities.ts";
import { checkOptions, endpointOf, optionsOf, PUBSUB, type RedisOptions, type RedisPubSubOptions, STREAMS } from "./options.ts";
import { PubSubDriver } from "./pubsub/driver.ts";
import { StreamsDriver } from "./streams/driver.ts";

export type { PubSubFeatures, StreamsFeatures } from "./capabilities.ts";
export type { RedisConnectionOptions, RedisOptions, RedisPubSubOptions, RedisTls } from "./options.ts";
export type { RedisTopicOptions } from "./streams/admin.ts";

/** A factory of adapters that also reads URLs. */
export interface RedisFactory<Options, F extends Adapter["features"]> {
  (options?: Options): Adapter<F>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter<F>;
}

function streams(options: RedisOptions = {}): Adapter<StreamsFeatures> {
  checkOptions(options, STREAMS);
  const endpoint = endpointOf(options);
  const { leaseMs = capabilities.redis.lease.ms, dedupeMs = 0 } = options;
  return {
    name: "redis",
    spi: 1,
    capabilities: capabilities.redis,
    features: features.redis,
    open: (context) => new StreamsDriver(endpoint, leaseMs, dedupeMs, context),
  };
}

function channels(options: RedisPubSubOptions = {}): Adapter<PubSubFeatures> {
  checkOptions(options, PUBSUB);
  const endpoint = endpointOf(options);
  const { plain = false, bufferBytes = 16_777_216 } = options;
  return {
    name: "redis+pubsub",
    spi: 1,
    capabilities: capabilities["redis+pubsub"],
    features: features["redis+pubsub"],
    open: (context) => new PubSubDriver(endpoint, plain, bufferBytes, context),
  };
}

/**
 * Redis Streams: groups, replay, delay, dead letters; `redis:` and `rediss:` (TLS) URLs. Needs Redis 7.0 or newer, one server.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is loaded or connected before `connect`.
 */
export const redis: RedisFactory<RedisOptions, StreamsFeatures> = Object.assign(streams, {
  schemes: ["redis", "rediss"],
  fromUrl: (url: BrokerUrl) => streams(optionsOf(url, STREAMS)),
});

/**
 * Redis Pub/Sub: live broadcast, at most once, with a count of what was lost; `redis+pubsub:` and `rediss+pubsub:` (TLS) URLs.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is loaded or connected before `connect`.
 */
export const redisPubSub: RedisFactory<RedisPubSubOptions, PubSubFeatures> = Object.assign(channels, {
  schemes: ["redis+pubsub", "rediss+pubsub"],
  fromUrl: (url: BrokerUrl) => channels(optionsOf(url, PUBSUB)),
});
