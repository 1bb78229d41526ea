import { readFileSync } from "node:fs";
import { isIPv6 } from "node:net";
import type { SecureContextOptions } from "node:tls";
import { type BrokerUrl, driverError } from "brokerkit/driver";
import { type Authentication, basicAuth, tlsAuth, tokenAuth } from "./protocol/auth.ts";
import { type Host, hostOf } from "./protocol/options.ts";

export interface PulsarOptions {
  /** `host` or `host:port`, one or several brokers or proxies of one cluster: one after the other is tried. Default `localhost`, port 6650, with TLS 6651. */
  servers?: string | readonly string[] | undefined;
  /** Default `public`. */
  tenant?: string | undefined;
  /** Default `default`. */
  namespace?: string | undefined;
  /** A JSON Web Token, or what gives one: asked at each connection, and when the broker wants it refreshed. */
  token?: string | (() => string | Promise<string>) | undefined;
  /** A file that holds a token, read whenever one is needed. */
  tokenFile?: string | undefined;
  /** With `password`: basic authentication. */
  username?: string | undefined;
  password?: string | undefined;
  /** `true`: TLS, the certificate verified by the system's authorities. */
  tls?: boolean | PulsarTls | undefined;
  /**
   * The web service of a broker, or of a proxy in front of it: what makes topics, moves groups and tells their backlogs. Default port 8080 of the
   * first server, with TLS 8443. `false`: none, and what needs it is `UNSUPPORTED`.
   */
  adminUrl?: string | false | undefined;
  /** How the members of a group share it. Default `key_shared`, where each key is with one member. */
  subscriptionType?: "key_shared" | "shared" | "failover" | undefined;
  /**
   * What shares an entry. Default `lane`: messages whose keys have the same hash. `key`: one key an entry, as the batches of Java's
   * `BatcherBuilder.KEY_BASED`. `none`: one message an entry. All producers of a topic whose groups are `key_shared` should do the same.
   */
  batching?: "lane" | "key" | "none" | undefined;
  /** Of published entries. Default `none`. */
  compression?: "none" | "zlib" | "zstd" | undefined;
  /** `native`: by the package `pulsar-client`, which is installed besides. Default `protocol`, which needs nothing. */
  transport?: "protocol" | "native" | undefined;
  /** Longest time for opening a connection and being let in, each server, ms. Default 5,000. */
  connectTimeoutMs?: number | undefined;
  /** A link that was silent this long is asked, and given up when it stays silent as long again, ms. Default 30,000. */
  keepAliveMs?: number | undefined;
  /** Every connection goes to the given server, whatever the brokers say their own addresses are: for port forwarding to a cluster of one. Default false. */
  tunnel?: boolean | undefined;
}

/** PEM texts. The server's certificate is always verified. */
export interface PulsarTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one; it is also how to be let in where nothing else is given. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificate must bear. Default: the server's host. */
  servername?: string | undefined;
}

/** Where the cluster is and how to be let in. What is secret is not enumerable: never printed, inspected or serialised. */
export interface Endpoint {
  readonly servers: readonly Host[];
  readonly connectTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly tunnel: boolean;
  readonly auth: Authentication | undefined;
  readonly tls: (SecureContextOptions & Pick<PulsarTls, "servername">) | undefined;
}

/** How topics are used. */
export interface Settings {
  /** `tenant/namespace` */
  readonly namespace: string;
  readonly subscriptionType: "key_shared" | "shared" | "failover";
  readonly batching: "lane" | "key" | "none";
  readonly compression: "none" | "zlib" | "zstd";
  readonly transport: "protocol" | "native";
  /** URL of the admin service; `undefined` where there is to be none. */
  readonly admin: string | undefined;
}

type Kind = "text" | "boolean" | readonly string[] | readonly [min: number, max: number];
const TEXT = "text";
/** Options that are one value each, as they are in code and in a URL. */
const PLAIN: Readonly<Record<string, Kind>> = {
  tokenFile: TEXT,
  subscriptionType: ["key_shared", "shared", "failover"],
  batching: ["lane", "key", "none"],
  compression: ["none", "zlib", "zstd"],
  transport: ["protocol", "native"],
  connectTimeoutMs: [1, 600_000],
  keepAliveMs: [100, 600_000],
  tunnel: "boolean",
};
const KNOWN = ["servers", "tenant", "namespace", "token", "username", "password", "tls", "adminUrl", ...Object.keys(PLAIN)];
const FILES = ["ca", "cert", "key"];
const TLS_KEYS = [...FILES, "passphrase", "servername"];
/** https://pulsar.apache.org/docs/4.0.x/concepts-multi-tenancy/: the characters of names. */
const NAME = /^[-=:.\w]+$/;

function invalid(text: string): Error {
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

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function checkOptions(options: PulsarOptions): void {
  for (const [name, value] of Object.entries(options)) {
    if (!KNOWN.includes(name)) throw invalid(`There is no option "${name.slice(0, 40)}". Known: ${KNOWN.join(", ")}.`);
    const kind = PLAIN[name];
    if (value !== undefined && kind !== undefined && !fits(value, kind)) throw invalid(`The option "${name}" must be ${told(kind)}.`);
  }
  for (const name of ["tenant", "namespace"] as const) {
    const value: unknown = options[name];
    if (value !== undefined && !(typeof value === "string" && NAME.test(value)))
      throw invalid(`The option "${name}" must be letters, digits and any of - = : . _`);
  }
  checkAdmin(options);
  checkTls(options.tls);
  checkAccess(options);
  serversOf(options);
}

function checkAdmin({ adminUrl, tls }: PulsarOptions): void {
  if (adminUrl === undefined || adminUrl === false) return;
  const url = typeof adminUrl === "string" && URL.canParse(adminUrl) ? new URL(adminUrl) : undefined;
  const bare = url !== undefined && url.username === "" && url.password === "" && url.search === "" && url.pathname === "/";
  if (!bare || !["http:", "https:"].includes(url.protocol))
    throw invalid('The option "adminUrl" must be false, or http://host:port or https://host:port without user, path and query.');
  if (url.protocol === "http:" && isOn(tls))
    throw invalid('With TLS the option "adminUrl" must begin with https://: what lets clients in would go there without it.');
}

function checkTls(tls: PulsarOptions["tls"]): void {
  if (tls === undefined || typeof tls === "boolean") return;
  if (typeof tls !== "object" || tls === null)
    throw invalid(`The option "tls" must be true, false or an object with ${TLS_KEYS.join(", ")}.`);
  for (const name of Object.keys(tls)) {
    if (!TLS_KEYS.includes(name))
      throw invalid(`There is no option "tls.${name.slice(0, 40)}". Known: ${TLS_KEYS.join(", ")}. Certificates are always verified.`);
  }
  if ((tls.cert === undefined) !== (tls.key === undefined)) throw invalid('The options "tls.cert" and "tls.key" go together.');
}

function checkAccess(options: PulsarOptions): void {
  const { token, tokenFile, username, password } = options;
  if (token !== undefined && typeof token !== "function" && !fits(token, TEXT))
    throw invalid('The option "token" must be a text that is not empty, or a function that gives one.');
  for (const name of ["username", "password"] as const) {
    if (options[name] !== undefined && !fits(options[name], TEXT)) throw invalid(`The option "${name}" must be ${told(TEXT)}.`);
  }
  if ((username === undefined) !== (password === undefined)) throw invalid('The options "username" and "password" go together.');
  if (username?.includes(":")) throw invalid('The option "username" must have no colon, which ends it in basic authentication.');
  const ways = [token, tokenFile, username].filter((way) => way !== undefined);
  if (ways.length > 1) throw invalid('Only one of "token", "tokenFile" and "username" with "password" can be how to be let in.');
}

const isOn = (tls: PulsarOptions["tls"]): boolean => tls !== undefined && tls !== false;

function serversOf({ servers = "localhost", tls }: PulsarOptions): Endpoint["servers"] {
  const list: readonly unknown[] = Array.isArray(servers) ? servers : [servers];
  if (list.length === 0) throw invalid('The option "servers" names none.');
  const usual = isOn(tls) ? 6651 : 6650;
  return Object.freeze(list.map((one) => serverOf(one, usual)));
}

function serverOf(text: unknown, usual: number): Host {
  const server = typeof text === "string" ? hostOf(text, usual) : undefined;
  if (server === undefined) throw invalid('The option "servers" must be "host" or "host:port", or an array of them.');
  return server;
}

/** The options that say where the cluster is, with their defaults. */
export function endpointOf(options: PulsarOptions): Endpoint {
  const { connectTimeoutMs = 5_000, keepAliveMs = 30_000, tunnel = false } = options;
  const endpoint = { servers: serversOf(options), connectTimeoutMs, keepAliveMs, tunnel };
  const tls = options.tls === true ? {} : options.tls === false ? undefined : (options.tls as Endpoint["tls"]);
  const secrets = { auth: authOf(options, tls), tls };
  const hidden = Object.fromEntries(Object.entries(secrets).map(([key, value]) => [key, { value }]));
  return Object.freeze(Object.defineProperties(endpoint, hidden)) as typeof endpoint & typeof secrets;
}

function authOf({ token, tokenFile, username, password }: PulsarOptions, tls: Endpoint["tls"]): Authentication | undefined {
  if (token !== undefined) return tokenAuth(token);
  if (tokenFile !== undefined) return tokenAuth({ file: tokenFile });
  if (username !== undefined && password !== undefined) return basicAuth(username, password);
  return tls?.cert === undefined ? undefined : tlsAuth();
}

/** The options that say how topics are used, with their defaults. */
export function settingsOf(options: PulsarOptions): Settings {
  const { tenant = "public", namespace = "default", subscriptionType = "key_shared", batching = "lane" } = options;
  const { compression = "none", transport = "protocol", adminUrl, tls } = options;
  const admin = adminUrl === false ? undefined : (adminUrl ?? usualAdmin(options, isOn(tls)));
  return Object.freeze({ namespace: `${tenant}/${namespace}`, subscriptionType, batching, compression, transport, admin });
}

function usualAdmin(options: PulsarOptions, secure: boolean): string {
  const host = serversOf(options)[0]?.host ?? "localhost";
  return `${secure ? "https" : "http"}://${isIPv6(host) ? `[${host}]` : host}:${secure ? 8443 : 8080}`;
}

/**
 * The options that a URL says: `pulsar+ssl://user:password@a:6651,b:6651/tenant/namespace?adminUrl=https://a:8443&ca=/etc/ca.pem`. A user
 * without a password is a token. `ca`, `cert` and `key` name files.
 */
export function optionsOf(url: BrokerUrl): PulsarOptions {
  const secure = url.scheme === "pulsar+ssl";
  const servers = url.hosts.map(({ host, port }) => `${isIPv6(host) ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}`);
  const options: Record<string, unknown> = { ...(servers.length === 0 ? {} : { servers }), ...placeOf(url.path), ...accessOf(url) };
  const tls: Record<string, unknown> = {};
  const allowed = [...Object.keys(PLAIN), "adminUrl", ...(secure ? [...FILES, "servername"] : [])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    if (FILES.includes(name)) tls[name] = readPem(name, text);
    else if (name === "servername") tls[name] = text;
    else if (name === "adminUrl") options[name] = text === "false" ? false : text;
    else options[name] = parsed(text, PLAIN[name] ?? TEXT);
  }
  if (secure) options["tls"] = tls;
  return options;
}

function placeOf(path: string): Pick<PulsarOptions, "tenant" | "namespace"> {
  if (path === "") return {};
  const [tenant = "", namespace = "", ...more] = path.split("/");
  if (tenant === "" || namespace === "" || more.length > 0)
    throw invalid("The path of a Pulsar URL is /tenant/namespace: topics are named where they are used.");
  return { tenant, namespace };
}

function accessOf({ credentials: { username, password } }: BrokerUrl): Pick<PulsarOptions, "token" | "username" | "password"> {
  if (username === undefined) return password === undefined ? {} : { password };
  return password === undefined ? { token: username } : { username, password };
}

function parsed(text: string, kind: Kind): unknown {
  if (kind === "boolean") return text === "true" ? true : text === "false" ? false : text;
  if (typeof kind === "object" && typeof kind[0] === "number") return /^\d+$/.test(text) ? Number(text) : Number.NaN;
  return text;
}

function readPem(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`The file of the URL option "${name}" can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}
