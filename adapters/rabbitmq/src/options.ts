import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type BrokerUrl, driverError } from "brokerkit/driver";

export interface RabbitMqOptions {
  /** `host` or `host:port`, one or several of one cluster: one after the other is tried. Default `localhost`, port 5672, with TLS 5671. */
  servers?: string | readonly string[] | undefined;
  /** Default `/`. */
  vhost?: string | undefined;
  /** Default `guest`, which servers let in from their own machine only. */
  username?: string | undefined;
  password?: string | undefined;
  /** `true`: TLS, the certificate verified by the system's authorities. */
  tls?: boolean | RabbitMqTls | undefined;
  /** Longest time for opening a connection and being let in, each server. Default 5,000 ms. */
  connectTimeoutMs?: number | undefined;
  /** A link that was silent for two to three times this long is given up, here and by the server; whole seconds. Default 5,000 ms. */
  heartbeatMs?: number | undefined;
  /** What the server's management shows for these connections. Default `brokerkit`. */
  name?: string | undefined;
  /** What groups are made of from now on: replicated queues, or queues of one server. Default `quorum`. */
  queueType?: "quorum" | "classic" | undefined;
  /** Keep a stream beside each topic made from now on, which replay and broadcast read. Default true. */
  log?: boolean | undefined;
  /** How long the log of a topic made from now on keeps messages, unless the topic says. Default 7 days. Whole segments go at a time. */
  logMaxAgeMs?: number | undefined;
  /** How large the log of a topic made from now on may grow, unless the topic says. Default 1 GiB. */
  logMaxBytes?: number | undefined;
  /** How much one subscription may hold unsettled, 1–65,535. Default 1,000. */
  prefetch?: number | undefined;
  /** Levels of priority in groups made from now on, 2–10, classic queues only. Default 0: none. */
  priorities?: number | undefined;
}

/** PEM texts. The server's certificate is always verified. */
export interface RabbitMqTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificate must bear. Default: the host. */
  servername?: string | undefined;
}

/** Where to connect to. Secrets are not enumerable. */
export interface Endpoint {
  readonly servers: readonly { readonly host: string; readonly port: number }[];
  readonly vhost: string;
  readonly connectTimeoutMs: number;
  readonly heartbeatMs: number;
  readonly name: string;
  readonly username: string;
  readonly password: string;
  readonly tls: RabbitMqTls | undefined;
}

/** What the driver makes on the server. */
export interface Settings {
  readonly queueType: "quorum" | "classic";
  readonly log: boolean;
  readonly logMaxAgeMs: number;
  readonly logMaxBytes: number;
  readonly prefetch: number;
  readonly priorities: number;
}

type Kind =
  | { readonly type: "string" | "boolean" }
  | { readonly type: "choice"; readonly of: readonly string[] }
  | { readonly type: "number"; readonly min: number; readonly max: number; readonly orZero?: true };
const TEXT: Kind = { type: "string" };
const KNOWN: Readonly<Record<keyof RabbitMqOptions, Kind | undefined>> = {
  servers: undefined,
  vhost: TEXT,
  username: TEXT,
  password: TEXT,
  tls: undefined,
  connectTimeoutMs: { type: "number", min: 1, max: 600_000 },
  heartbeatMs: { type: "number", min: 1_000, max: 600_000 },
  name: TEXT,
  queueType: { type: "choice", of: ["quorum", "classic"] },
  log: { type: "boolean" },
  logMaxAgeMs: { type: "number", min: 1_000, max: 3_153_600_000_000 },
  logMaxBytes: { type: "number", min: 1_000, max: Number.MAX_SAFE_INTEGER },
  prefetch: { type: "number", min: 1, max: 65_535 },
  priorities: { type: "number", min: 2, max: 10, orZero: true },
};
const NAMES = Object.keys(KNOWN);
const TLS_KEYS = ["ca", "cert", "key", "passphrase", "servername"];
const FILES = ["ca", "cert", "key"];

function invalid(text: string): Error {
  return driverError("INVALID_ARGUMENT", text);
}

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function checkOptions(options: RabbitMqOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(KNOWN, name)) throw invalid(`There is no option "${name.slice(0, 40)}". Known: ${NAMES.join(", ")}.`);
    const kind = KNOWN[name as keyof RabbitMqOptions];
    if (value !== undefined && kind !== undefined) check(name, value, kind);
  }
  const { tls, username, password, vhost, queueType = "quorum", priorities = 0 } = options;
  if (password !== undefined && username === undefined) throw invalid('A password needs a "username".');
  if (vhost === "") throw invalid('The option "vhost" must not be empty; the default one is called "/".');
  if (priorities > 0 && queueType !== "classic") throw invalid('The option "priorities" needs queueType: "classic".');
  if (tls === undefined || typeof tls === "boolean") return;
  for (const name of Object.keys(tls)) {
    if (!TLS_KEYS.includes(name))
      throw invalid(`There is no option "tls.${name.slice(0, 40)}". Known: ${TLS_KEYS.join(", ")}. Certificates are always verified.`);
  }
}

function check(name: string, value: unknown, kind: Kind): void {
  if (kind.type === "choice") {
    if (!kind.of.includes(value as string)) throw invalid(`The option "${name}" must be one of ${kind.of.join(", ")}.`);
  } else if (kind.type === "number") {
    const { min, max, orZero } = kind;
    const fits = Number.isInteger(value) && (((value as number) >= min && (value as number) <= max) || (orZero && value === 0));
    if (!fits) throw invalid(`The option "${name}" must be a whole number from ${min} to ${max}${orZero ? ", or 0" : ""}.`);
  } else if (typeof value !== kind.type) throw invalid(`The option "${name}" must be a ${kind.type}.`);
}

export function endpointOf(options: RabbitMqOptions): Endpoint {
  const { vhost = "/", connectTimeoutMs = 5_000, heartbeatMs = 5_000, name = "brokerkit" } = options;
  const tls = options.tls === true ? {} : options.tls === false ? undefined : options.tls;
  const { servers = "localhost", username = "guest", password = options.username === undefined ? "guest" : "" } = options;
  const list: readonly unknown[] = Array.isArray(servers) ? servers : [servers];
  if (list.length === 0) throw invalid('The option "servers" names none.');
  const usual = tls === undefined ? 5672 : 5671;
  const endpoint = { servers: Object.freeze(list.map((one) => serverOf(one, usual))), vhost, connectTimeoutMs, heartbeatMs, name };
  const secrets = { username, password, tls };
  const hidden = Object.fromEntries(Object.entries(secrets).map(([key, value]) => [key, { value }]));
  return Object.freeze(Object.defineProperties(endpoint, hidden)) as typeof endpoint & typeof secrets;
}

export function settingsOf(options: RabbitMqOptions): Settings {
  const { queueType = "quorum", log = true, logMaxAgeMs = 604_800_000, logMaxBytes = 1_073_741_824 } = options;
  const { prefetch = 1_000, priorities = 0 } = options;
  return Object.freeze({ queueType, log, logMaxAgeMs, logMaxBytes, prefetch, priorities });
}

function serverOf(text: unknown, usual: number): { readonly host: string; readonly port: number } {
  const [, six, plain, digits] =
    typeof text === "string" ? (/^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text) ?? []) : [];
  const host = six ?? plain;
  const port = Number(digits ?? usual);
  if (host === undefined || port < 1 || port > 65_535)
    throw invalid('The option "servers" must be "host" or "host:port", or an array of them.');
  return { host, port };
}

/**
 * The options that a URL says: `amqps://user:password@a:5671,b:5671/vhost?ca=/etc/ca.pem&queueType=classic`. The path is the vhost, `%2f` or
 * none the default one. `ca`, `cert` and `key` name files.
 */
export function optionsOf(url: BrokerUrl): RabbitMqOptions {
  const secure = url.scheme === "amqps";
  const servers = url.hosts.map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}`);
  const options: Record<string, unknown> = servers.length === 0 ? {} : { servers };
  if (url.path !== "") options["vhost"] = url.path;
  const { username, password } = url.credentials;
  if (username !== undefined) options["username"] = username;
  if (password !== undefined) options["password"] = password;
  const tls: Record<string, unknown> = {};
  const outside = ["servers", "vhost", "username", "password", "tls"];
  const allowed = [...NAMES.filter((name) => !outside.includes(name)), ...(secure ? [...FILES, "servername"] : [])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    const kind = KNOWN[name as keyof RabbitMqOptions];
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
