// The SPI: what an adapter implements, and its only import from core. Types, and one function.
export type { Adapter, AdapterFactory, BrokerUrl, Clock, DriverContext, FactoryContext, Timer } from "./adapter.ts";
export type { Capabilities, DeliveryLevel, Features, LagKind, ReplayKind, StartKind } from "./capabilities.ts";
export type {
  Admin,
  Coordination,
  Cursor,
  Driver,
  Nack,
  Register,
  ReplayRequest,
  Retention,
  SubscribeRequest,
  Subscription,
  SubscriptionEvents,
  TopicInfo,
  TopicSpec,
  WireLag,
} from "./driver.ts";
export { type Classified, type DriverError, driverError, type ErrorCode } from "./errors.ts";
export type {
  Cut,
  Place,
  PublishResult,
  SettleResult,
  Shard,
  ShardId,
  Target,
  WireDelivery,
  WireHeader,
  WireRecord,
  WireStart,
} from "./wire.ts";
