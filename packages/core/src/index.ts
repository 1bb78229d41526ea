// The public names of brokerkit, and nothing else.
export type { EffectiveCapabilities, Supplied, Supply } from "./capabilities.ts";
export { connect, createBroker } from "./connect.ts";
export { defineTopic, type NativeTopicOptions, type TopicDefinition, type TopicOptions } from "./definition.ts";
export type { Adapter, AdapterFactory, BrokerUrl, FactoryContext } from "./driver/adapter.ts";
export type { Capabilities, DeliveryLevel, StartKind } from "./driver/capabilities.ts";
export { BrokerError, ERROR_CODES, type ErrorCode, type ErrorDetails, isBrokerError } from "./errors.ts";
export type { Batch, Codec, Delivery, Message, Place, Receipt } from "./message.ts";
export {
  type BatchOptions,
  type ConsumeOptions,
  DEFAULTS,
  type Feature,
  type Features,
  type FeaturesOf,
  type Interceptor,
  type Logger,
  type Options,
  type PublishOptions,
  type Retry,
  type SubscribeOptions,
} from "./options.ts";
export { comparePositions, type Position, parsePosition, type Start } from "./position.ts";
export { routed } from "./routed.ts";
export type { In, Out, Schema, SchemaIssue, SchemaResult } from "./schema.ts";
export type {
  Broker,
  DeadLetter,
  DeadLetterFilter,
  DeadLetters,
  Group,
  Handler,
  Health,
  Lag,
  ProvisionResult,
  Replay,
  Stream,
  Subscription,
  SubscriptionState,
  Topic,
  TopicCore,
  Verbs,
} from "./surface.ts";
export type { BrokerEvent, DeliverTrace, PublishTrace } from "./telemetry/events.ts";
