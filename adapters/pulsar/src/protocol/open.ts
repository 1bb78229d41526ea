import type { Clock } from "brokerkit/driver";
import { nativeTransport } from "../native.ts";
import type { Endpoint, Settings } from "../options.ts";
import type { PulsarTransport } from "../transport.ts";
import { protocolTransport } from "./index.ts";

export interface Opening {
  readonly clock: Clock;
  readonly batchIndexAck: boolean;
  /** A connection has ended that nobody closed. */
  readonly onDown: (error: unknown) => void;
}

/** The transport that the options ask for. One attempt at everything: who comes back, and when, is not its business. */
export function openTransport(endpoint: Endpoint, settings: Settings, opening: Opening): PulsarTransport {
  const { servers, auth, tls, tunnel, connectTimeoutMs, keepAliveMs } = endpoint;
  const hosts = servers.map(({ host, port }) => `${host.includes(":") ? `[${host}]` : host}:${port}`).join(",");
  const serviceUrl = `pulsar${tls === undefined ? "" : "+ssl"}://${hosts}`;
  if (settings.transport === "native") return nativeTransport({ serviceUrl, auth, tls: tls !== undefined });
  const { batching, compression } = settings;
  const reached = { serviceUrl, auth, tls, tunnel, connectTimeoutMs, keepAliveMs };
  return protocolTransport({ ...reached, ...opening, batching: { by: batching }, compression, reconnect: false, createTopics: false });
}
