import type { PulsarTransport } from "../transport.ts";
import { Client } from "./client.ts";
import type { ProtocolOptions } from "./options.ts";

export type {
  AckResult,
  ConsumerEvents,
  ConsumerOptions,
  IncomingMessage,
  MessageId,
  OutgoingMessage,
  ProducerOptions,
  PulsarTransport,
  SendResult,
  ServerFacts,
  StartPoint,
  TransportConsumer,
  TransportProducer,
} from "../transport.ts";
export { type Authentication, basicAuth, tlsAuth, tokenAuth } from "./auth.ts";
export { PulsarError } from "./errors.ts";
export { type BatchingOptions, LANES, type ProtocolOptions } from "./options.ts";

/** A client of Pulsar's binary protocol. No I/O before `connect`, or the first producer or consumer. */
export function protocolTransport(options: ProtocolOptions): PulsarTransport {
  return new Client(options);
}
