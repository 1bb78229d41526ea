import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { DriverStage, record as keyless } from "@brokerkit/conformance/driver-stage";
import type { Adapter, WireRecord } from "brokerkit/driver";
import { afterAll, afterEach } from "vitest";
import { type KafkaOptions, kafka } from "../src/index.ts";

export { failure, fresh, ids, type Reader, soon, store, until } from "@brokerkit/conformance/driver-stage";

export const { atLast, connecting, defer, open, read } = new DriverStage({ afterEach, afterAll });

/** Sessions that end soon. */
export const QUICK: KafkaOptions = { sessionTimeoutMs: 1_500, heartbeatMs: 150, connectTimeoutMs: 2_000 };

export function at({ host, port }: Pick<RunningBroker, "host" | "port">, options: KafkaOptions = {}): Adapter {
  return kafka({ brokers: [`${host}:${port}`], ...QUICK, ...options });
}

/** A record whose key and body are its id. */
export function record(topic: string, id: string, more: Partial<WireRecord> = {}): WireRecord {
  return keyless(topic, id, { key: Buffer.from(id), ...more });
}

export function records(topic: string, ...ids: readonly string[]): WireRecord[] {
  return ids.map((id) => record(topic, id));
}
