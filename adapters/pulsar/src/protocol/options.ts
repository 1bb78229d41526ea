import type { ConnectionOptions as TlsOptions } from "node:tls";
import type { Clock } from "brokerkit/driver";
import type { Authentication } from "./auth.ts";
import { localError } from "./errors.ts";

/** Lanes of a partition, unless an option says otherwise. */
export const LANES = 32;

/** How messages share entries, which are what the broker stores, acknowledges and dispatches. */
export interface BatchingOptions {
  /**
   * `lane` (default): keys are hashed into lanes, and messages of one lane share entries; Key_Shared dispatches by lane, so it keeps the order
   * of every key. A producer that puts the same key into entries of its own (Java's default) is dispatched by other hashes: one key can then be
   * with two consumers, one for each kind of producer. `key`: one key an entry, as Java's key-based batches. `none`: one message an entry.
   */
  readonly by?: "lane" | "key" | "none" | undefined;
  /** Lanes of each partition, and so the most consumers that share its keys. All producers of a topic must agree. Default `LANES`. */
  readonly lanes?: number | undefined;
  /** Messages of one entry at most. Default 1,000. */
  readonly maxMessages?: number | undefined;
  /** Bytes of one entry at which it is closed. Default 128 KiB. */
  readonly maxBytes?: number | undefined;
}

export interface ProtocolOptions {
  /** `pulsar://host:6650,other:6650`, or `pulsar+ssl://host:6651`. Hosts are tried in turn; proxies are fine. */
  readonly serviceUrl: string;
  readonly auth?: Authentication | undefined;
  /** Trust, certificates and server name, for `pulsar+ssl`. Certificates are always verified. */
  readonly tls?: TlsOptions | undefined;
  /**
   * Every connection goes to the service URL, whatever brokers say of themselves: for one broker behind a tunnel or a mapped port. A Pulsar
   * proxy needs no option. Default false.
   */
  readonly tunnel?: boolean | undefined;
  /** For brokers that advertise several listeners. */
  readonly listenerName?: string | undefined;
  /**
   * A producer or a consumer of a topic that does not exist asks the broker to create it, as its policies allow; `false`: it fails with
   * `TopicNotFound`. Default true.
   */
  readonly createTopics?: boolean | undefined;
  readonly batching?: BatchingOptions | undefined;
  /** Of what is published. Default none. */
  readonly compression?: "none" | "zlib" | "zstd" | undefined;
  /**
   * The broker keeps acknowledgements of single messages of an entry (`acknowledgmentAtBatchIndexLevelEnabled`); it does not say so by
   * itself. Default false: such acknowledgements are remembered here until the entry is complete.
   */
  readonly batchIndexAck?: boolean | undefined;
  /** TCP, TLS and the greeting together, for one host. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined;
  /** Answers to what has no signal of its own: acknowledgements, closing. Default 10,000. */
  readonly answerTimeoutMs?: number | undefined;
  /** A silent broker is asked after this long, and given up after as long again. Default 30,000. */
  readonly keepAliveMs?: number | undefined;
  /** How often a partitioned topic is asked whether it has grown. Default 60,000. */
  readonly partitionsMs?: number | undefined;
  /**
   * Producers and consumers come back after a lost connection or a topic that moved; what was in flight is sent again with the same sequence
   * numbers. `false`: they close and say so. Default true.
   */
  readonly reconnect?: boolean | undefined;
  /** A connection ended that nobody closed. Producers and consumers on it are told by themselves. */
  readonly onDown?: ((error: unknown) => void) | undefined;
  /** For tests. */
  readonly clock?: Clock | undefined;
}

export interface Host {
  readonly host: string;
  readonly port: number;
}

/** Options with their defaults. */
export interface Settings {
  readonly hosts: readonly Host[];
  readonly secure: boolean;
  readonly auth: Authentication | undefined;
  readonly tls: TlsOptions;
  readonly tunnel: boolean;
  readonly listenerName: string | undefined;
  readonly createTopics: boolean;
  readonly batching: {
    readonly by: "lane" | "key" | "none";
    readonly lanes: number;
    readonly maxMessages: number;
    readonly maxBytes: number;
  };
  readonly compression: "none" | "zlib" | "zstd";
  readonly batchIndexAck: boolean;
  readonly connectTimeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly partitionsMs: number;
  readonly reconnect: boolean;
  readonly onDown: (error: unknown) => void;
  readonly clock: Clock;
}

const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, run) {
    const timer = setTimeout(run, ms);
    timer.unref();
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Throws `InvalidArgument` for a service URL that is none. */
export function settingsOf(options: ProtocolOptions): Settings {
  const { secure, hosts } = brokersOf(options.serviceUrl);
  const { by = "lane", lanes = LANES, maxMessages = 1_000, maxBytes = 131_072 } = options.batching ?? {};
  return {
    hosts,
    secure,
    auth: options.auth,
    tls: options.tls ?? {},
    tunnel: options.tunnel ?? false,
    listenerName: options.listenerName,
    createTopics: options.createTopics ?? true,
    batching: { by, lanes, maxMessages: by === "none" ? 1 : maxMessages, maxBytes },
    compression: options.compression ?? "none",
    batchIndexAck: options.batchIndexAck ?? false,
    connectTimeoutMs: options.connectTimeoutMs ?? 5_000,
    answerTimeoutMs: options.answerTimeoutMs ?? 10_000,
    keepAliveMs: options.keepAliveMs ?? 30_000,
    partitionsMs: options.partitionsMs ?? 60_000,
    reconnect: options.reconnect ?? true,
    onDown: options.onDown ?? (() => {}),
    clock: options.clock ?? systemClock,
  };
}

/** `pulsar://a:6650,b` and `pulsar+ssl://a`: the way brokers write their addresses, too. */
export function brokersOf(url: string): { readonly secure: boolean; readonly hosts: readonly Host[] } {
  const [, scheme, list] = /^(pulsar(?:\+ssl)?):\/\/([^/?#@]+)\/?$/.exec(url) ?? [];
  const secure = scheme === "pulsar+ssl";
  const hosts = (list ?? "").split(",").map((text) => hostOf(text, secure ? 6651 : 6650));
  if (!hosts.includes(undefined)) return { secure, hosts: hosts as readonly Host[] };
  throw localError(
    "InvalidArgument",
    "A service URL is pulsar://host:6650, or pulsar+ssl://host:6651; several hosts are parted by commas.",
  );
}

/** `host` or `host:port`, an address of IPv6 in brackets; `undefined` for what is neither. */
export function hostOf(text: string, standard: number): Host | undefined {
  const [, six, plain, digits = String(standard)] = /^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const host = six ?? plain;
  const port = Number(digits);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}
