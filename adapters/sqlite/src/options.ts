import { type BrokerUrl, driverError } from "brokerkit/driver";

/** How to open a broker file. */
export interface SqliteOptions {
  /** The file: relative to the working folder, or absolute. Its folder must exist. */
  readonly path: string;
  /** Make the file where there is none. Default true. */
  readonly create?: boolean | undefined;
  /**
   * What a confirmed publish has reached. `"full"` (default): the disk, by fsync. `"normal"`: the operating system, so a power cut may
   * take the last of it; the end of a process, also by kill -9, never does.
   */
  readonly synchronous?: "full" | "normal" | undefined;
  /** How long a delivery belongs to its receiver without being extended, ms, 100 … 86,400,000. Default 30,000. */
  readonly leaseMs?: number | undefined;
  /** How long a published id is remembered so that publishing it again stores nothing, ms, 0 (off) … 86,400,000. Default 300,000. */
  readonly dedupeMs?: number | undefined;
  /** How long to wait for another process that is writing before a call fails `UNAVAILABLE`, ms, 0 … 60,000. Default 5,000. */
  readonly busyMs?: number | undefined;
  /** The most bytes the file may have; a publish beyond it fails `QUOTA_EXCEEDED`. At least 1 MiB. Default: no bound. */
  readonly maxBytes?: number | undefined;
}

export type Settings = { readonly [K in keyof SqliteOptions]-?: Exclude<SqliteOptions[K], undefined> };

export const DAY_MS = 86_400_000;

const NUMBERS = {
  leaseMs: { min: 100, max: DAY_MS, default: 30_000 },
  dedupeMs: { min: 0, max: DAY_MS, default: 300_000 },
  busyMs: { min: 0, max: 60_000, default: 5_000 },
  maxBytes: { min: 2 ** 20, max: Number.POSITIVE_INFINITY, default: Number.POSITIVE_INFINITY },
} as const;
const NAMES = ["path", "create", "synchronous", ...Object.keys(NUMBERS)];

/** Checks options and fills in defaults. Throws `INVALID_ARGUMENT` for what is unknown or out of range. */
export function settings(options: SqliteOptions): Settings {
  for (const name of Object.keys(options)) {
    if (!NAMES.includes(name)) throw invalid(`there is no option "${name}"; known: ${NAMES.join(", ")}`);
  }
  const { path, create = true, synchronous = "full" } = options;
  if (typeof path !== "string" || path === "" || path.includes("\0")) throw invalid('"path" must name a file, such as "orders.db"');
  if (/^:memory:|^file:/.test(path)) throw invalid(`"${path}" is no file that lasts; for a broker in memory use the URL "memory:"`);
  if (typeof create !== "boolean") throw invalid('"create" must be true or false');
  if (synchronous !== "full" && synchronous !== "normal") throw invalid('"synchronous" must be "full" or "normal"');
  const number = (name: keyof typeof NUMBERS): number => {
    const { min, max, default: fallback } = NUMBERS[name];
    const value = options[name] ?? fallback;
    if (value !== fallback && !(Number.isInteger(value) && value >= min && value <= max)) {
      throw invalid(`"${name}" must be a whole number from ${min} to ${max}`);
    }
    return value;
  };
  const [leaseMs, dedupeMs, busyMs, maxBytes] = [number("leaseMs"), number("dedupeMs"), number("busyMs"), number("maxBytes")];
  return Object.freeze({ path, create, synchronous, leaseMs, dedupeMs, busyMs, maxBytes });
}

/** `sqlite:orders.db?leaseMs=2000`: the options of a URL. Throws `INVALID_ARGUMENT` for parts that a file has not. */
export function optionsOf(url: BrokerUrl): SqliteOptions {
  if (url.hosts.length > 0) throw invalid("a file has no host: write sqlite:orders.db, or sqlite:/var/lib/orders.db for an absolute path");
  const options: Record<string, unknown> = { path: url.path };
  for (const [name, text] of url.options) {
    const wanted = name in NUMBERS ? Number(text === "" ? Number.NaN : text) : text;
    options[name] = name === "create" && (text === "true" || text === "false") ? text === "true" : wanted;
    if (name === "path") throw invalid('"path" stands before the question mark: sqlite:orders.db');
  }
  return options as unknown as SqliteOptions;
}

function invalid(why: string): Error {
  return driverError("INVALID_ARGUMENT", `[sqlite] The options can't be used: ${why}.`);
}
