import { readFileSync } from "node:fs";
import { type BrokerUrl, driverError } from "brokerkit/driver";
import { groupIdOf } from "./mapping.ts";
import type { Endpoint } from "./protocol/line.ts";
import type { MemberSettings } from "./protocol/membership.ts";
import type { Isolation } from "./protocol/offsets.ts";
import type { Compression } from "./protocol/records.ts";

export interface KafkaOptions {
  /** Addresses to begin with, `"host"` or `"host:port"`; the cluster tells the others. Default `["localhost:9092"]`. */
  brokers?: readonly string[] | undefined;
  /** How the server's logs, quotas and lists of members call this process. Default `"brokerkit"`. */
  clientId?: string | undefined;
  /** `true`: TLS, the certificate verified by the system's authorities. */
  tls?: boolean | KafkaTls | undefined;
  sasl?: KafkaSasl | undefined;
  /** Longest time for opening a connection and being let in, ms. Default 5,000. */
  connectTimeoutMs?: number | undefined;
  /** How published batches are compressed. Default `"none"`. */
  compression?: Compression | undefined;
  /** `"classic"`: cooperative rebalances led by a member (KIP-429). `"consumer"`: led by the server (KIP-848, Kafka 4.0 or newer). Default `"classic"`. */
  groupProtocol?: "classic" | "consumer" | undefined;
  /** Static membership (KIP-345): begins each member's `group.instance.id`. Unique for each process, the same after its restart. */
  instanceId?: string | undefined;
  /** How long a member that is not heard of keeps its partitions, ms, within the server's bounds. Default 20,000. */
  sessionTimeoutMs?: number | undefined;
  /** How often a member is heard of, ms; at most half of `sessionTimeoutMs`. Default a tenth of it, at most 3,000. */
  heartbeatMs?: number | undefined;
  /** How long members may take to give partitions up in a rebalance, ms. Default 60,000. */
  rebalanceTimeoutMs?: number | undefined;
  naming?: KafkaNaming | undefined;
  /** Whether messages of open and aborted transactions are read as well. Default `"read-committed"`: they are not. */
  isolation?: Isolation | undefined;
  /** Every connection goes to the given address, whatever the server says its own is: for port forwarding to a cluster of one. Default false. */
  tunnel?: boolean | undefined;
}

/** PEM texts. The server's certificate is always verified. */
export interface KafkaTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificates must bear. Default: each server's host. */
  servername?: string | undefined;
}

/** How to be let in. `plain` sends the password as it is: use it with TLS. */
export type KafkaSasl =
  | { readonly mechanism: "plain" | "scram-sha-256" | "scram-sha-512"; readonly username: string; readonly password: string }
  | { readonly mechanism: "oauthbearer"; readonly token: string | (() => string | Promise<string>) };

export interface KafkaNaming {
  /** The consumer group that a group is to Kafka, such as one that exists already. Default `<topic>.<group>`. */
  group?: ((topic: string, group: string) => string) | undefined;
}

/** How this driver publishes and consumes, with defaults. */
export interface Behaviour extends MemberSettings {
  readonly compression: Compression;
  /** Native name of a group. Default `<topic>.<group>`. */
  readonly groupId: (topic: string, group: string) => string;
  readonly isolation: Isolation;
}

type Kind = "text" | "boolean" | readonly string[] | readonly [min: number, max: number];
const TEXT = "text";
const HOUR_MS = 3_600_000;
/** Options that are one value each, as they are in code and in a URL. */
const PLAIN: Readonly<Record<string, Kind>> = {
  clientId: TEXT,
  connectTimeoutMs: [1, 600_000],
  compression: ["none", "gzip", "snappy", "lz4", "zstd"],
  groupProtocol: ["classic", "consumer"],
  instanceId: TEXT,
  sessionTimeoutMs: [500, HOUR_MS],
  heartbeatMs: [50, HOUR_MS],
  rebalanceTimeoutMs: [500, HOUR_MS],
  isolation: ["read-committed", "read-uncommitted"],
  tunnel: "boolean",
};
const KNOWN = [...Object.keys(PLAIN), "brokers", "tls", "sasl", "naming"];
const TLS_KEYS = ["ca", "cert", "key", "passphrase", "servername"];
const FILES = ["ca", "cert", "key"];
const WITH_PASSWORD = ["plain", "scram-sha-256", "scram-sha-512"];
const MECHANISMS = [...WITH_PASSWORD, "oauthbearer"];
const PORT = 9_092;
const DEFAULT_SESSION_MS = 20_000;

export function invalid(text: string): Error {
  return driverError("INVALID_ARGUMENT", text);
}

function fits(value: unknown, kind: Kind): boolean {
  if (kind === "text") return typeof value === "string" && value !== "";
  if (kind === "boolean") return typeof value === "boolean";
  const [min, max] = kind;
  if (typeof min !== "number") return (kind as readonly unknown[]).includes(value);
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= (max as number);
}

function told(kind: Kind): string {
  if (kind === "text") return "a text that is not empty";
  if (kind === "boolean") return "true or false";
  return typeof kind[0] === "number" ? `a whole number from ${kind[0]} to ${kind[1]}` : `one of ${kind.join(", ")}`;
}

export function checkKeys(where: string, value: unknown, known: readonly string[], hint = ""): void {
  if (typeof value !== "object" || value === null) throw invalid(`The option "${where}" must be an object with ${known.join(", ")}.`);
  for (const name of Object.keys(value)) {
    const path = where === "" ? name : `${where}.${name}`;
    if (!known.includes(name)) throw invalid(`There is no option "${path.slice(0, 60)}". Known: ${known.join(", ")}.${hint}`);
  }
}

export function checkValue(where: string, value: unknown, kind: Kind): void {
  if (value !== undefined && !fits(value, kind)) throw invalid(`The option "${where}" must be ${told(kind)}.`);
}

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function checkOptions(options: KafkaOptions): void {
  checkKeys("", options, KNOWN);
  for (const [name, kind] of Object.entries(PLAIN)) checkValue(name, options[name as keyof KafkaOptions], kind);
  const { brokers, tls, sasl, naming, sessionTimeoutMs = DEFAULT_SESSION_MS, heartbeatMs } = options;
  if (options.instanceId !== undefined && !/^[A-Za-z0-9._-]{1,200}$/.test(options.instanceId))
    throw invalid('The option "instanceId" must be 1 to 200 letters, digits, dots, dashes and underscores.');
  if (heartbeatMs !== undefined && heartbeatMs * 2 > sessionTimeoutMs)
    throw invalid('The option "heartbeatMs" must be at most half of "sessionTimeoutMs", or one late heartbeat ends the session.');
  if (brokers !== undefined && !(Array.isArray(brokers) && brokers.length > 0 && brokers.every((one) => addressOf(one) !== undefined)))
    throw invalid('The option "brokers" must be a list of "host" or "host:port" that is not empty.');
  if (tls !== undefined && typeof tls !== "boolean") checkKeys("tls", tls, TLS_KEYS, " Certificates are always verified.");
  if (sasl !== undefined) checkSasl(sasl);
  if (naming !== undefined) {
    checkKeys("naming", naming, ["group"]);
    if (naming.group !== undefined && typeof naming.group !== "function")
      throw invalid('The option "naming.group" must be a function that makes a consumer group\'s name of a topic and a group.');
  }
}

function checkSasl(sasl: KafkaSasl): void {
  checkKeys("sasl", sasl, ["mechanism", "username", "password", "token"]);
  if (!MECHANISMS.includes(sasl.mechanism)) throw invalid(`The option "sasl.mechanism" must be one of ${MECHANISMS.join(", ")}.`);
  const wanted = sasl.mechanism === "oauthbearer" ? ["token"] : ["username", "password"];
  for (const [name, value] of Object.entries(sasl)) {
    if (name === "mechanism") continue;
    if (!wanted.includes(name) && value !== undefined)
      throw invalid(`The option "sasl.${name}" does not go with ${sasl.mechanism}, which takes ${wanted.join(" and ")}.`);
  }
  for (const name of wanted) {
    const value = (sasl as unknown as Record<string, unknown>)[name];
    if (!fits(value, TEXT) && !(name === "token" && typeof value === "function"))
      throw invalid(`The option "sasl.${name}" is missing, or is no text; ${sasl.mechanism} needs it.`);
  }
}

/** `host`, `host:port`, `[::1]:port`. */
function addressOf(text: unknown): { readonly host: string; readonly port: number } | undefined {
  const parts = typeof text === "string" ? /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text) : null;
  const host = parts?.[1] ?? parts?.[2];
  const port = parts?.[3] === undefined ? PORT : Number(parts[3]);
  return host === undefined || port < 1 || port > 65_535 ? undefined : { host, port };
}

/** The options that say where the cluster is, with their defaults. */
export function endpointOf(options: KafkaOptions): Endpoint {
  const { brokers = [`localhost:${PORT}`], clientId = "brokerkit", connectTimeoutMs = 5_000, tunnel = false, tls, sasl } = options;
  const bootstrap = brokers.map(addressOf).filter((address) => address !== undefined);
  const endpoint = { bootstrap, clientId, connectTimeoutMs, tunnel };
  const secrets = {
    sasl: sasl === undefined ? undefined : { ...sasl, mechanism: sasl.mechanism.toUpperCase() },
    tls: tls === true ? {} : tls === false ? undefined : tls,
  };
  return Object.freeze(
    Object.defineProperties(endpoint, { sasl: { value: secrets.sasl }, tls: { value: secrets.tls } }),
  ) as typeof endpoint & typeof secrets as Endpoint;
}

/** The options that say how to publish and consume, with their defaults. */
export function behaviourOf(options: KafkaOptions): Behaviour {
  const { compression = "none", groupProtocol = "classic", instanceId, sessionTimeoutMs = DEFAULT_SESSION_MS, naming } = options;
  const { rebalanceTimeoutMs = 60_000, isolation = "read-committed" } = options;
  const { heartbeatMs = Math.max(50, Math.min(3_000, Math.floor(sessionTimeoutMs / 10))) } = options;
  const named = naming?.group;
  const groupId = named === undefined ? groupIdOf : (topic: string, group: string) => checkedName(named(topic, group));
  return Object.freeze({ compression, groupProtocol, instanceId, sessionTimeoutMs, heartbeatMs, rebalanceTimeoutMs, groupId, isolation });
}

function checkedName(name: unknown): string {
  if (typeof name === "string" && name !== "") return name;
  throw invalid('The function "naming.group" made no name of a topic and a group: it must return a text that is not empty.');
}

/**
 * The options that a URL says: `kafkas://user:password@a:9092,b:9092?sasl=scram-sha-512&compression=zstd`. `ca`, `cert` and `key` name
 * files; `naming=group` means that a group's own name is the consumer group's.
 */
export function optionsOf(url: BrokerUrl): KafkaOptions {
  if (url.path !== "") throw invalid("A Kafka URL has no path: topics are named where they are used.");
  const secure = url.scheme === "kafkas";
  const brokers = url.hosts.map(({ host, port = PORT }) => `${host.includes(":") ? `[${host}]` : host}:${port}`);
  const options: Record<string, unknown> = brokers.length === 0 ? {} : { brokers };
  const tls: Record<string, unknown> = {};
  const allowed = [...Object.keys(PLAIN), "naming", "sasl", ...(secure ? [...FILES, "servername"] : [])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    if (FILES.includes(name)) tls[name] = readPem(name, text);
    else if (name === "servername") tls[name] = text;
    else if (name === "naming") options[name] = namingOf(text);
    else if (name !== "sasl") options[name] = parsed(text, PLAIN[name] ?? TEXT);
  }
  if (secure) options["tls"] = tls;
  const sasl = saslOf(url);
  return sasl === undefined ? options : { ...options, sasl };
}

function parsed(text: string, kind: Kind): unknown {
  if (kind === "boolean") return text === "true" ? true : text === "false" ? false : text;
  if (typeof kind === "object" && typeof kind[0] === "number") return /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return text;
}

function namingOf(text: string): KafkaNaming {
  if (text !== "group") throw invalid('The URL option "naming" must be group; anything else is a function, given in code.');
  return { group: (_topic, group) => group };
}

function saslOf({ options, credentials: { username, password } }: BrokerUrl): KafkaSasl | undefined {
  const mechanism = options.get("sasl")?.toLowerCase();
  if (mechanism === undefined) {
    if (username === undefined && password === undefined) return undefined;
    throw invalid(
      `A URL with a user says how to be let in: add the option sasl, one of ${WITH_PASSWORD.join(", ")}. None is taken by default, since plain sends the password as it is.`,
    );
  }
  if (mechanism === "oauthbearer") throw invalid("The mechanism oauthbearer needs a token, which a URL can't hold: use kafka({ sasl }).");
  // What else may be wrong with it, `checkOptions` says.
  return { mechanism, username, password } as KafkaSasl;
}

function readPem(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`The file of the URL option "${name}" can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}
