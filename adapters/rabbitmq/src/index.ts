import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { ceilingOf, features, type RabbitMqFeatures, type RabbitMqQueueFeatures } from "./capabilities.ts";
import { RabbitMqDriver } from "./driver.ts";
import { checkOptions, endpointOf, optionsOf, type RabbitMqOptions, settingsOf } from "./options.ts";

export type { RabbitMqTopicOptions } from "./admin.ts";
export type { RabbitMqFeatures, RabbitMqQueueFeatures } from "./capabilities.ts";
export type { RabbitMqOptions, RabbitMqTls } from "./options.ts";

/** A factory of adapters that also reads URLs. */
export interface RabbitMqFactory {
  (options: RabbitMqOptions & { readonly log: false }): Adapter<RabbitMqQueueFeatures>;
  (options?: RabbitMqOptions): Adapter<RabbitMqFeatures>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter;
}

function queues(options: RabbitMqOptions = {}): Adapter {
  checkOptions(options);
  const endpoint = endpointOf(options);
  const settings = settingsOf(options);
  const ceiling = ceilingOf(settings);
  return {
    name: "rabbitmq",
    spi: 1,
    capabilities: ceiling,
    features: settings.log ? features.rabbitmq : features.withoutLog,
    open: (context) => new RabbitMqDriver(endpoint, settings, ceiling, context),
  };
}

/**
 * RabbitMQ: groups on quorum or classic queues, replay from streams, delay, dead letters; `amqp:`, `rabbitmq:` and `amqps:` (TLS) URLs.
 * Needs RabbitMQ 3.10 or newer. Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is loaded or connected
 * before `connect`.
 */
export const rabbitmq: RabbitMqFactory = Object.assign(
  queues as (options?: RabbitMqOptions) => Adapter<RabbitMqFeatures & RabbitMqQueueFeatures>,
  {
    schemes: ["amqp", "rabbitmq", "amqps"],
    fromUrl: (url: BrokerUrl) => queues(optionsOf(url)),
  },
);
