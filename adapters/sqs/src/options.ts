import { readFileSync } from "node:fs";
import { type BrokerUrl, type Capabilities, driverError } from "brokerkit/driver";

export interface SqsOptions {
  /** Such as `eu-west-1`. Default: what AWS_REGION or the shared configuration says. */
  region?: string | undefined;
  /** Another server than the region's own, such as `http://127.0.0.1:4566`; it speaks for SQS and SNS. */
  endpoint?: string | undefined;
  /** Default: the SDK's chain (environment, shared configuration, container, instance). */
  accessKeyId?: string | undefined;
  secretAccessKey?: string | undefined;
  sessionToken?: string | undefined;
  /** For endpoints with certificates of one's own. The server's certificate is always verified. */
  tls?: SqsTls | undefined;
  /** A request fails when the server says nothing for so long. Default 10,000 ms. */
  timeoutMs?: number | undefined;
  /** How long a delivery is owned without being extended: whole seconds, 2,000–43,200,000 ms. Default 60,000. */
  leaseMs?: number | undefined;
  /**
   * How long one poll waits for messages: whole seconds, 1,000–20,000 ms, a third of the lease at the most. Default 2,000. Closing waits 2 s
   * for polls under way. Longer ones cost fewer requests; what one is given after a close comes to other members when its lease ends.
   */
  pollMs?: number | undefined;
  /** The most polls under way at once for one subscription, 1–50. Default 8. */
  polls?: number | undefined;
  /** `false`: a topic is one plain queue, without SNS; its one group begins with it, so what is in the queue already comes too. Default true. */
  fanout?: boolean | undefined;
  /** Stands before the names of all topics and queues: `"app-"`. Letters, digits, `_` and `-`, at most 30. */
  namePrefix?: string | undefined;
  /** What a confirmed publish has reached at an `endpoint` that is none of AWS. Default `"none"`: nothing is known of it. */
  durability?: Capabilities["durabilityOnAck"] | undefined;
}

/** PEM texts. */
export interface SqsTls {
  /** Authorities to trust instead of the system's. */
  ca?: string | Uint8Array | undefined;
  /** The client's own certificate and key, where the server asks for one. */
  cert?: string | Uint8Array | undefined;
  key?: string | Uint8Array | undefined;
  passphrase?: string | undefined;
  /** The name that the certificate must bear. Default: the endpoint's host. */
  servername?: string | undefined;
}

/** Options with their defaults. Secrets are not enumerable. */
export interface Settings {
  readonly fifo: boolean;
  readonly region: string | undefined;
  readonly endpoint: string | undefined;
  readonly timeoutMs: number;
  readonly leaseMs: number;
  readonly pollMs: number;
  readonly polls: number;
  readonly fanout: boolean;
  readonly namePrefix: string;
  readonly durability: Capabilities["durabilityOnAck"];
  readonly credentials: { accessKeyId: string; secretAccessKey: string; sessionToken?: string } | undefined;
  readonly tls: SqsTls | undefined;
}

type Kind = RegExp | "boolean" | readonly [min: number, max: number, step: number] | undefined;

const SECRET = /^[\x21-\x7e]+$/;
const KNOWN: Readonly<Record<keyof SqsOptions, Kind>> = {
  region: /^[a-z0-9-]{1,40}$/,
  endpoint: /^https?:\/\/[^/?#@]+\/?$/,
  accessKeyId: SECRET,
  secretAccessKey: SECRET,
  sessionToken: SECRET,
  tls: undefined,
  timeoutMs: [100, 600_000, 1],
  leaseMs: [2_000, 43_200_000, 1_000],
  pollMs: [1_000, 20_000, 1_000],
  polls: [1, 50, 1],
  fanout: "boolean",
  namePrefix: /^[A-Za-z0-9_-]{0,30}$/,
  durability: /^(none|memory|page-cache|fsync|replicated)$/,
};
const IN_URL = ["region", "timeoutMs", "leaseMs", "pollMs", "polls", "fanout", "namePrefix", "durability"] as const;
const FILES = ["ca", "cert", "key"];
const TLS_KEYS = [...FILES, "passphrase", "servername"];
const AWS = /\.amazonaws\.com(\.cn)?$/;

function invalid(text: string): Error {
  return driverError("INVALID_ARGUMENT", text);
}

/** Throws `INVALID_ARGUMENT` for keys that are unknown and values that are out of bounds. Values are never printed. */
export function settingsOf(options: SqsOptions, fifo: boolean): Settings {
  check(options, Object.keys(KNOWN), "");
  for (const [name, kind] of Object.entries(KNOWN)) {
    const value = options[name as keyof SqsOptions];
    if (value !== undefined && kind !== undefined && !fits(value, kind)) throw invalid(`The option "${name}" must be ${said(kind)}.`);
  }
  const { accessKeyId, secretAccessKey, sessionToken, tls } = options;
  if ((accessKeyId === undefined) !== (secretAccessKey === undefined) || (accessKeyId === undefined && sessionToken !== undefined)) {
    throw invalid('"accessKeyId" and "secretAccessKey" go together; leave out both for the default chain.');
  }
  if (tls !== undefined) check(tls, TLS_KEYS, "tls.");
  const { region, endpoint, timeoutMs = 10_000, leaseMs = 60_000, pollMs = 2_000, polls = 8, fanout = true, namePrefix = "" } = options;
  const aws = endpoint === undefined || AWS.test(new URL(endpoint).hostname);
  if (aws && options.durability !== undefined) throw invalid('"durability" is for endpoints that are none of AWS.');
  const durability = aws ? "replicated" : (options.durability ?? "none");
  const credentials =
    accessKeyId === undefined || secretAccessKey === undefined
      ? undefined
      : { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  const plain = { fifo, region, endpoint, timeoutMs, leaseMs, pollMs, polls, fanout, namePrefix, durability };
  const secrets = { credentials, tls };
  return Object.freeze(Object.defineProperties(plain, { credentials: { value: credentials }, tls: { value: tls } })) as typeof plain &
    typeof secrets;
}

function check(given: object, known: readonly string[], room: string): void {
  if (typeof given !== "object" || given === null) throw invalid(`The options ${room}… must be an object.`);
  for (const name of Object.keys(given)) {
    if (!known.includes(name)) throw invalid(`There is no option "${room}${name.slice(0, 40)}". Known: ${known.join(", ")}.`);
  }
}

function fits(value: unknown, kind: Exclude<Kind, undefined>): boolean {
  if (kind === "boolean") return typeof value === "boolean";
  if (kind instanceof RegExp) return typeof value === "string" && kind.test(value);
  const [min, max, step] = kind;
  return Number.isInteger(value) && (value as number) >= min && (value as number) <= max && (value as number) % step === 0;
}

function said(kind: Exclude<Kind, undefined>): string {
  if (kind === "boolean") return "true or false";
  if (kind === SECRET) return "a text without spaces";
  if (kind instanceof RegExp) return `a text that matches ${kind.source}`;
  return `a whole number from ${kind[0]} to ${kind[1]}${kind[2] > 1 ? `, a multiple of ${kind[2]}` : ""}`;
}

/**
 * The options that a URL says: `sqs:?region=eu-west-1`, `sqs://id:secret@sqs.example:9324?region=us-east-1&ca=/etc/ca.pem`,
 * `sqs+http://id:secret@127.0.0.1:4566?region=us-east-1`. `ca`, `cert` and `key` name files.
 */
export function optionsOf(url: BrokerUrl): SqsOptions {
  const [host, another] = url.hosts;
  const plain = url.scheme.endsWith("+http");
  if (another !== undefined) throw invalid("Several hosts are not supported: name one endpoint, or none for AWS.");
  if (plain && host === undefined) throw invalid(`${url.scheme}: needs a host: plain HTTP is for endpoints of one's own.`);
  if (url.path !== "") throw invalid(`${url.scheme}: takes no path. Prefix names by ?namePrefix=….`);
  const options: Record<string, unknown> = {};
  if (host !== undefined) {
    const name = host.host.includes(":") ? `[${host.host}]` : host.host;
    options["endpoint"] = `http${plain ? "" : "s"}://${name}${host.port === undefined ? "" : `:${host.port}`}`;
  }
  const { username, password } = url.credentials;
  if (username !== undefined) options["accessKeyId"] = username;
  if (password !== undefined) options["secretAccessKey"] = password;
  const tls: Record<string, unknown> = {};
  const allowed: readonly string[] = [...IN_URL, ...(host === undefined || plain ? [] : [...FILES, "servername"])];
  for (const [name, text] of url.options) {
    if (!allowed.includes(name)) throw invalid(`There is no URL option "${name}" for ${url.scheme}:. Known: ${allowed.join(", ")}.`);
    const kind = KNOWN[name as keyof SqsOptions];
    if (FILES.includes(name)) tls[name] = readPem(name, text);
    else if (name === "servername") tls[name] = text;
    else if (Array.isArray(kind)) options[name] = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    else if (kind === "boolean") options[name] = text === "true" ? true : text === "false" ? false : text;
    else options[name] = text;
  }
  if (Object.keys(tls).length > 0) options["tls"] = tls;
  return options;
}

function readPem(name: string, path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (error) {
    throw invalid(`The file of the URL option "${name}" can't be read (${(error as NodeJS.ErrnoException).code}).`);
  }
}
