import type { Adapter, BrokerUrl } from "brokerkit/driver";
import { capabilities, features, type SqsFeatures, type SqsFifoFeatures } from "./capabilities.ts";
import { SqsDriver } from "./driver.ts";
import { optionsOf, type SqsOptions, settingsOf } from "./options.ts";

export type { SqsFeatures, SqsFifoFeatures } from "./capabilities.ts";
export type { SqsOptions, SqsTls } from "./options.ts";

/** A factory of adapters that also reads URLs. */
export interface SqsFactory<F extends Adapter["features"]> {
  (options?: SqsOptions): Adapter<F>;
  readonly schemes: readonly string[];
  fromUrl(url: BrokerUrl): Adapter<F>;
}

function standard(options: SqsOptions = {}): Adapter<SqsFeatures> {
  const settings = settingsOf(options, false);
  return {
    name: "sqs",
    spi: 1,
    capabilities: capabilities.sqs,
    features: features.sqs,
    open: (context) => new SqsDriver(settings, context),
  };
}

function fifo(options: SqsOptions = {}): Adapter<SqsFifoFeatures> {
  const settings = settingsOf(options, true);
  return {
    name: "sqs+fifo",
    spi: 1,
    capabilities: capabilities["sqs+fifo"],
    features: features["sqs+fifo"],
    open: (context) => new SqsDriver(settings, context),
  };
}

/**
 * Amazon SNS topics with SQS queues as groups: groups, broadcast, delay, dead letters; `sqs:` (AWS, or an https endpoint) and `sqs+http:` URLs.
 * Throws `INVALID_ARGUMENT` for options that are unknown or out of bounds. Nothing is loaded or connected before `connect`.
 */
export const sqs: SqsFactory<SqsFeatures> = Object.assign(standard, {
  schemes: ["sqs", "sqs+http"],
  fromUrl: (url: BrokerUrl) => standard(optionsOf(url)),
});

/**
 * The same with FIFO topics and queues: key order among all members of a group, and publishing the same twice within 5 min stores it once;
 * `sqs+fifo:` and `sqs+fifo+http:` URLs. A factory of its own, as what it promises differs, and types follow that.
 */
export const sqsFifo: SqsFactory<SqsFifoFeatures> = Object.assign(fifo, {
  schemes: ["sqs+fifo", "sqs+fifo+http"],
  fromUrl: (url: BrokerUrl) => fifo(optionsOf(url)),
});
