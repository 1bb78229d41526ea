// The sub-path brokerkit/testing: brokers, messages and time for unit tests.
export type { Clock, Timer } from "../driver/adapter.ts";
export { type TestBroker, type TestBrokerOptions, testBroker } from "./test-broker.ts";
export { type Settled, type TestMessage, type TestMessageOptions, testMessage } from "./test-message.ts";
export { VirtualClock } from "./virtual-clock.ts";
