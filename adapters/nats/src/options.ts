import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import { type BrokerUrl, driverError } from "brokerkit/driver";
import { credentialsOf, signerOf } from "./protocol/nkeys.ts";

/** Where the servers are and how to be let in. */
export interface NatsConnectionOptions {
  /** `host` or `host:port`, one or several of one cluster: one after the other is tried. Default `localhost:4222`. */
  servers?: string | readonly string[] | undefined;
  username?: string | undefined;
  password?: string | undefined;
  /** Instead of user and password. */
  token?: string | undefined;
  /** Seed of a user's nkey, `SU…`. */
  nkeySeed?: string | undefined;
  /** A user's JWT, beside its `nkeySeed`. */
  jwt?: string | undefined;
  /** The text of a `.creds` file: JWT and seed in one. */
  credentials?: string | undefined;
  /** `true`: TLS, the certificate verified by the system's authorities. A server that asks for TLS gets it in any case. */
  tls?: boolean | NatsTls | undefined;
  /** Longest time for opening a connection and being let in. Default 5,000 ms. */
  connectTimeoutMs?: number | undefined;
  /** Stands before every subject, with a dot at its end if it is to be a token of its own: `"app."`. */
  subjectPrefix?: string | undefined;
  /** Subjects of replies begin so; the account must be allowed to listen below it. Default `_INBOX`. */
  inboxPrefix?: string | undefined;
  /** What the server's monitoring shows for these connections. Default `brokerkit`. */
  name?: string | undefined;
}

/** PEM texts. The server's certificate is always verified. */
export interface NatsTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificate must bear. Default: the host. */
  servername?: string | undefined;
}

/** JetStream. */
export interface NatsOptions extends NatsConnectionOptions {
  /** JetStream's domain, where it is reached through a leaf node. */
  domain?: string | undefined;
  /** How long a delivery is owned without being extended, 250–3,600,000 ms; of groups that are made from now on. Default 30,000. */
  leaseMs?: number | undefined;
  /** Publishing one id again within this window stores nothing, 100–86,400,000 ms, or 0: off; of topics made from now on. Default 120,000. */
  dedupeMs?: number | undefined;
  /** How many deliveries of a group may be unsettled, all members together; of groups that are made from now on. Default 10,000. */
  maxUnacked?: number | undefined;
  /** How many servers of a cluster keep each topic, 1–5; of topics that are made from now on. Default 1. */
  replicas?: number | undefined;
}

/** Core NATS. */
export interface NatsCoreOptions extends NatsConnectionOptions {
  /** How much may wait here for a slow subscriber before the oldest messages are dropped and counted. Default 16 MiB. */
  bufferBytes?: number | undefined;
}

/** Options with their defaults. Secrets are not enumerable. */
export interface Endpoint {
  readonly servers: readonly { readonly host: string; readonly port: number }[];
  readonly connectTimeoutMs: number;
  readonly subjectPrefix: string;
  readonly inboxPrefix: string;
  readonly name: string;
  readonly username: string | undefined;
  readonly password: string | undefined;
  readonly token: string | undefined;
  readonly nkeySeed: string | undefined;
  readonly jwt: string | undefined;
  readonly credentials: string | undefined;
  readonly tls: NatsTls | undefined;
}

type Kind =
  | { readonly type: "string"; readonly pattern?: RegExp }
  | { readonly type: "number"; readonly min: number; readonly max: number; readonly orZero?: true };
const TEXT: Kind = { type: "string" };
const SUBJECT: Kind = { type: "string", pattern: /^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/ };
const CONNECTION: Readonly<Record<string, Kind | undefined>> = {
  servers: undefined,
  username: TEXT,
  password: TEXT,
  token: TEXT,
  nkeySeed: TEXT,
  jwt: TEXT,
  credentials: TEXT,
  tls: undefined,
  connectTimeoutMs: { type: "number", min: 1, max: 600_000 },
  subjectPrefix: { type: "string", pattern: /^([A-Za-z0-9][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*\.?)?$/ },
  inboxPrefix: SUBJECT,
  name: TEXT,
};
export const JETSTREAM: Readonly<Record<string, Kind | undefined>> = {
  ...CONNECTION,
  domain: { type: "string", pattern: /^[A-Za-z0-9_-]+$/ },
  leaseMs: { type: "number", min: 250, max: 3_600_000 },
  dedupeMs: { type: "number", min: 100, max: 86_400_000, orZero: true },
  maxUnacked: { type: "number", min: 1, max: 1_000_000 },
  replicas: { type: "number", min: 1, max: 5 },
};
export const CORE: Readonly<Record<string, Kind | undefined>> = {
  ...CONNECTION,
  bufferBytes: { type: "number", min: 65_536, max: 4_294_967_296 },
};
const TLS_KEYS = ["ca", "cert", "key", "passphrase", "servername"];
const PEM = ["ca", "cert", "key"];
/** URL options that name a file, and the option that gets its text. */
const SECRET_FILES: Readonly<Record<string, string>> = { creds: "credentials", nkey: "nkeySeed" };
const SECRETS = ["username", "password", "token", "nkeySeed", "jwt", "credentials"] as const;

function invalid(text: string): Error {
  return driverError("INVALID_ARGUMENT", text);
}

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function checkOptions(options: object, known: Readonly<Record<string, Kind | undefined>>): void {
  for (const [name, value] of Object.entries(options)) {
    if (!Object.hasOwn(known, name)) throw invalid(`There is no option "${name.slice(0, 40)}". Known: ${Object.keys(known).join(", ")}.`);
    const kind = known[name];
    if (value !== undefined && kind !== undefined) check(name, value, kind);
  }
  const { tls, username, password, token, nkeySeed, jwt, credentials } = options as NatsConnectionOptions;
  const ways = [username ?? password, token, nkeySeed, credentials].filter((one) => one !== undefined).length;
  if (ways > 1) throw invalid("Say one of username and password, token, nkeySeed, and credentials.");
  if (password !== undefined && username === undefined) throw invalid('A password needs a "username".');
  if (jwt !== undefined && nkeySeed === undefined) throw invalid('A "jwt" needs the "nkeySeed" that belongs to it.');
  if (nkeySeed !== undefined) signerOf(nkeySeed);
  if (credentials !== undefined) signerOf(credentialsOf(credentials).seed);
  if (tls === undefined || typeof tls === "boolean") return;
  for (const name of Object.keys(tls)) {
    if (!TLS_KEYS.includes(name))
      throw invalid(`There is no option "tls.${name.slice(0, 40)}". Known: ${TLS_KEYS.join(", ")}. Certificates are always verified.`);
  }
}

function check(name: string, value: unknown, kind: Kind): void {
  if (kind.type === "string") {
    if (typeof value !== "string") throw invalid(`The option "${name}" must be a string.`);
    if (kind.pattern?.test(value) === false) throw invalid(`The option "${name}" must be of A–Z a–z 0–9 _ - and single dots between them.`);
    return;
  }
  const fits =
    Number.isInteger(value) && (((value as number) >= kind.min && (value as number) <= kind.max) || (kind.orZero && value === 0));
  if (!fits) throw invalid(`The option "${name}" must be a whole number from ${kind.min} to ${kind.max}${kind.orZero ? ", or 0" : ""}.`);
}

export function endpointOf(options: NatsConnectionOptions): Endpoint {
  const { servers = "localhost", connectTimeoutMs = 5_000, subjectPrefix = "", inboxPrefix = "_INBOX", name = "brokerkit", tls } = options;
  const list: readonly unknown[] = Array.isArray(servers) ? servers : [servers];
  if (list.length === 0) throw invalid('The option "servers" names none.');
  const endpoint = { servers: Object.freeze(list.map(serverOf)), connectTimeoutMs, subjectPrefix, inboxPrefix, name };
  const hidden = Object.fromEntries(SECRETS.map((secret) => [secret, { value: options[secret] }]));
  return Object.freeze(
    Object.defineProperties(endpoint, { ...hidden, tls: { value: tls === true ? {} : tls === false ? undefined : tls } }),
  ) as typeof endpoint & Endpoint;
}

function serverOf(text: unknown): { readonly host: string; readonly port: number } {
  const [, six, plain, digits = "4222"] =
    typeof text === "string" ? (/^(?:\[([0-9A-Fa-f:.%]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(text) ?? []) : [];
  const host = six ?? plain;
  const port = Number(digits);
  if (host === undefined || port < 1 || port > 65_535)
    throw invalid('The option "servers" must be "host" or "host:port", or an array of them.');
  return { host, port };
}

/**
 * The options that a URL says: `nats+tls://user:password@a:4222,b:4222?ca=/etc/ca.pem&leaseMs=10000`. A user without a password is a token.
 * `ca`, `cert`, `key`, `creds` and `nkey` name files.
 */
export function optionsOf(url: BrokerUrl, known: Readonly<Record<string, Kind | undefined>>): Record<string, unknown> {
  if (url.path !== "") throw invalid("A NATS URL has no path: topics are named in the application.");
  const secure = url.scheme.endsWith("tls");
  const servers = url.hosts.map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}`);
  const options: Record<string, unknown> = servers.length === 0 ? {} : { servers };
  const { username, password } = url.credentials;
  if (password !== undefined) Object.assign(options, { username, password });
  else if (username !== undefined) options["token"] = username;
  const tls: Record<string, unknown> = {};
  const inside = Object.keys(known).filter(
    (name) => name !== "servers" && name !== "tls" && !(SECRETS as readonly string[]).includes(name),
  );
  const allowed = [...inside, ...Object.keys(SECRET_FILES), ...(secure ? [...PEM, "servername"] : [])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    const secret = SECRET_FILES[name];
    if (secret !== undefined) options[secret] = readText(name, text).toString().trim();
    else if (PEM.includes(name)) tls[name] = readText(name, text);
    else if (name === "servername") tls[name] = text;
    else if (known[name]?.type === "number") options[name] = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    else options[name] = text;
  }
  if (secure) options["tls"] = tls;
  return options;
}

function readText(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`The file of the URL option "${name}" can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}
