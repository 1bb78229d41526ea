import { readFileSync } from "node:fs";
import { type BrokerUrl, driverError } from "brokerkit/driver";

/** Where the server is and how to be let in. */
export interface RedisConnectionOptions {
  /** Default `localhost`. */
  host?: string | undefined;
  /** Default 6379. */
  port?: number | undefined;
  /** Number of the database. Default 0. Pub/Sub channels are shared by all of them. */
  db?: number | undefined;
  /** ACL user. Default: the server's `default` user. */
  username?: string | undefined;
  password?: string | undefined;
  /** `true`: TLS, the certificate verified by the system's authorities. */
  tls?: boolean | RedisTls | undefined;
  /** Longest time for opening a connection and being let in. Default 5,000 ms. */
  connectTimeoutMs?: number | undefined;
  /** Stands before every key and channel, so that topics can live beside other data: `"app:"`. */
  keyPrefix?: string | undefined;
}

/** PEM texts. The server's certificate is always verified. */
export interface RedisTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificate must bear. Default: the host. */
  servername?: string | undefined;
}

export interface RedisOptions extends RedisConnectionOptions {
  /** How long a delivery is owned without being extended, 250–30,000 ms. Default 30,000. */
  leaseMs?: number | undefined;
  /** Publishing one id again within this window stores nothing, 0–86,400,000 ms. Default 0: off. One key per message while it lasts. */
  dedupeMs?: number | undefined;
}

export interface RedisPubSubOptions extends RedisConnectionOptions {
  /** Publish bare bodies, without key, headers, or a count of what was lost. Default false. */
  plain?: boolean | undefined;
  /** How much may wait here for a slow subscriber before the oldest messages are dropped and counted. Default 16 MiB. */
  bufferBytes?: number | undefined;
}

/** Options with their defaults. Secrets are not enumerable. */
export interface Endpoint {
  readonly host: string;
  readonly port: number;
  readonly db: number;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly tls: RedisTls | undefined;
  readonly connectTimeoutMs: number;
  readonly keyPrefix: string;
}

type Kind =
  | { readonly type: "string" }
  | { readonly type: "boolean" }
  | { readonly type: "number"; readonly min: number; readonly max: number };
const TEXT: Kind = { type: "string" };
const CONNECTION: Readonly<Record<string, Kind | undefined>> = {
  host: TEXT,
  port: { type: "number", min: 1, max: 65_535 },
  db: { type: "number", min: 0, max: 1_000_000 },
  username: TEXT,
  password: TEXT,
  tls: undefined,
  connectTimeoutMs: { type: "number", min: 1, max: 600_000 },
  keyPrefix: TEXT,
};
export const STREAMS: Readonly<Record<string, Kind | undefined>> = {
  ...CONNECTION,
  leaseMs: { type: "number", min: 250, max: 30_000 },
  dedupeMs: { type: "number", min: 0, max: 86_400_000 },
};
export const PUBSUB: Readonly<Record<string, Kind | undefined>> = {
  ...CONNECTION,
  plain: { type: "boolean" },
  bufferBytes: { type: "number", min: 65_536, max: 4_294_967_296 },
};
const TLS_KEYS = ["ca", "cert", "key", "passphrase", "servername"];
const FILES = ["ca", "cert", "key"];

function invalid(text: string): Error {
  return driverError("INVALID_ARGUMENT", text);
}

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function checkOptions(options: object, known: Readonly<Record<string, Kind | undefined>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) throw invalid(`There is no option "${name.slice(0, 40)}". Known: ${Object.keys(known).join(", ")}.`);
    const kind = known[name];
    if (value === undefined || kind === undefined) continue;
    const fits = kind.type === "number" ? Number.isInteger(value) && value >= kind.min && value <= kind.max : typeof value === kind.type;
    const bounds = kind.type === "number" ? `a whole number from ${kind.min} to ${kind.max}` : `a ${kind.type}`;
    if (!fits) throw invalid(`The option "${name}" must be ${bounds}.`);
  }
  const { tls } = options as RedisConnectionOptions;
  if (tls === undefined || typeof tls === "boolean") return;
  for (const name of Object.keys(tls)) {
    if (!TLS_KEYS.includes(name))
      throw invalid(`There is no option "tls.${name.slice(0, 40)}". Known: ${TLS_KEYS.join(", ")}. Certificates are always verified.`);
  }
}

export function endpointOf(options: RedisConnectionOptions): Endpoint {
  const { host = "localhost", port = 6379, db = 0, username, connectTimeoutMs = 5_000, keyPrefix = "", tls } = options;
  const endpoint = { host, port, db, username, connectTimeoutMs, keyPrefix };
  const secrets = { password: options.password, tls: tls === true ? {} : tls === false ? undefined : tls };
  return Object.freeze(
    Object.defineProperties(endpoint, { password: { value: secrets.password }, tls: { value: secrets.tls } }),
  ) as typeof endpoint & typeof secrets;
}

/** The options that a URL says: `rediss://user:password@host:6379/0?ca=/etc/ca.pem&leaseMs=10000`. `ca`, `cert` and `key` name files. */
export function optionsOf(url: BrokerUrl, known: Readonly<Record<string, Kind | undefined>>): Record<string, unknown> {
  const [host, another] = url.hosts;
  if (another !== undefined) throw invalid("Several hosts are not supported: name one server. Clusters and sentinels are not supported.");
  if (url.path !== "" && !/^\d{1,6}$/.test(url.path)) throw invalid("The path must be the number of a database, such as /0.");
  const secure = url.scheme.startsWith("rediss");
  const options: Record<string, unknown> = { ...host, db: url.path === "" ? undefined : Number(url.path) };
  const { username, password } = url.credentials;
  if (username !== undefined) options["username"] = username;
  if (password !== undefined) options["password"] = password;
  const tls: Record<string, unknown> = {};
  const outside = ["host", "port", "db", "username", "password", "tls"];
  const allowed = [...Object.keys(known).filter((name) => !outside.includes(name)), ...(secure ? ["ca", "cert", "key", "servername"] : [])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    const kind = known[name];
    if (FILES.includes(name)) tls[name] = readPem(name, text);
    else if (name === "servername") tls[name] = text;
    else if (kind?.type === "number") options[name] = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    else if (kind?.type === "boolean") options[name] = text === "true" ? true : text === "false" ? false : text;
    else options[name] = text;
  }
  if (secure) options["tls"] = tls;
  return options;
}

function readPem(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`The file of the URL option "${name}" can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}
