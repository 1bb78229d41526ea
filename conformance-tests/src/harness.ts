import type { Adapter, Capabilities, ErrorCode } from "brokerkit/driver";
import type { BrokerRecipe, RunningBroker } from "./brokers/index.ts";

/**
 * What a folder under adapters/ tells the suite about itself, in its `harness.ts`: data and a few functions, no test.
 * A folder with two drivers lists two adapters over one broker.
 */
export interface Harness {
  /** The folder's name; a run writes `reports/<adapter>.json` for each adapter below. */
  readonly name: string;
  /** How to get this backend for tests; `undefined` for embedded backends, which need nothing or a folder. */
  readonly broker?: BrokerRecipe | undefined;
  readonly adapters: readonly AdapterHarness[];
}

/** Where a backend is for one case or one run. */
export interface Site {
  /** Unique per site: an in-process backend names its store by it, so that two connections to one site meet. */
  readonly name: string;
  /** What to dial. A fault proxy's address where a case puts one in front. `""` and 0 for embedded backends. */
  readonly host: string;
  readonly port: number;
  /** The process or service behind it; `undefined` for embedded backends. */
  readonly broker: RunningBroker | undefined;
  /** An empty folder of this site's own, removed afterwards: database files, certificates. */
  readonly folder: string;
}

/** One driver under test. */
export interface AdapterHarness {
  /** As `Adapter.name` says it. */
  readonly name: string;
  /**
   * The URL of a site, with the options that tests run under: a lease of some seconds where the backend has one (short for what waits until it
   * runs out, longer than a busy machine lets a process stand still), full durability.
   * Worker processes connect by it through `brokerkit`'s own search for adapters. `undefined`: no second process can share a site.
   */
  url(site: Site): string | undefined;
  /** The same as an adapter value, with the same options. Two adapters of one site reach the same topics. */
  adapter(site: Site): Adapter;
  /**
   * The record that the driver is expected to answer from `connect` on the real backend under those options, reviewed by hand:
   * written out, never imported from the adapter's own `capabilities.ts`. The case `expected-capabilities` compares.
   */
  readonly expected: Capabilities;
  /** Cases that fail today, each with its reason and an issue. An unknown id fails the run, and so does a listed case that passes. */
  readonly gaps?: readonly KnownGap[] | undefined;
  /** A topic name that no case has used. Default: `<seed>-<random>`, which suits most backends. `seed` matches `[a-z-]+`. */
  topic?(seed: string): string;
  /** Whether the backend itself takes two different names for the same and refuses the second. Default: it tells all names apart. */
  collides?(name: string, other: string): boolean;
  /** How many cases run side by side, most of whose time they wait. Fewer where the server can't keep up with so many. Default 8. */
  readonly beside?: number | undefined;
  /** How often `faults/server-killed` kills the server; five times with `BROKERKIT_CHAOS=1`. Default once. */
  readonly kills?: number | undefined;
  /** Versions for the report, such as `{ client: "6.3.1", server: "7.0.15" }`. */
  versions?(site: Site): Promise<Readonly<Record<string, string>>>;
  /** The plain client of this backend, without brokerkit. */
  readonly foreign?: ForeignClient | undefined;
  /** What the suite can't do by the portable surface alone. */
  readonly provoke?: Provoke | undefined;
}

export interface KnownGap {
  readonly case: string;
  readonly reason: string;
  readonly issue: string;
}

/** A message as a plain client of the backend sees it. */
export interface ForeignRecord {
  readonly body: Uint8Array;
  /** Native headers or fields by name, brokerkit's own included; empty where the backend has none. */
  readonly headers: Readonly<Record<string, string>>;
}

/** Talks to a topic as software that knows nothing of brokerkit would. `topic` is a name as applications give it. */
export interface ForeignClient {
  /** The variant of the adapter whose bodies plain clients read. Default: `AdapterHarness.adapter`. */
  adapter?(site: Site): Adapter;
  /** Publishes a bare body in the backend's plain way, and resolves when it is stored (or sent, where nothing is stored). */
  publish(site: Site, topic: string, body: Uint8Array): Promise<void>;
  /** Begins to read the topic's plain records: all from now on, and what is there already where the backend keeps it. */
  read(site: Site, topic: string): Promise<ForeignReader>;
}

export interface ForeignReader {
  /** What was read so far, in order. */
  readonly records: readonly ForeignRecord[];
  close(): Promise<void>;
}

/** Errors that every backend with a server provokes for real, or explains in `absent`. */
export type NetworkProvocation = "wrong-password" | "forbidden" | "tls-bad-ca" | "tls-wrong-host" | "tls-expired" | "plain-to-tls-port";
/** `full`: the backend refuses to store more. The rest belong to file backends. */
export type ProvocationId = NetworkProvocation | "full" | "locked" | "read-only" | "corrupt";

/** One way to make a real error. */
export interface Provocation {
  readonly id: ProvocationId;
  readonly code: ErrorCode;
  /** The step that must reject with `code`: `broker.connect()`, or that step's call on a fresh topic. */
  readonly at: "connect" | "publish" | "subscribe";
  /** Whether `error.retryable` must be true: the same call may succeed later. */
  readonly retryable: boolean;
  /**
   * Makes the condition. `site` is the suite's shared, non-destructive one; start a private broker by the recipe where the condition
   * would disturb others. `undo` ends the condition if anything can, and `cleanUp` what was started.
   */
  setUp(site: Site): Promise<Provoked>;
}

export interface Provoked {
  readonly url: string | undefined;
  readonly adapter: Adapter;
  /** Passwords and tokens in that URL: none of them may appear in the error, in any form. */
  readonly secrets: readonly string[];
  /** Ends the condition, so that the suite can prove that the same broker handle then works and lost nothing. Absent where it can't be. */
  undo?(): Promise<void>;
  cleanUp(): Promise<void>;
}

export interface Provoke {
  readonly errors?: readonly Provocation[] | undefined;
  /** Why an error that a network backend should provoke can't be provoked here. */
  readonly absent?: Partial<Readonly<Record<NetworkProvocation, string>>> | undefined;
  /** Makes a topic's oldest records disappear as retention would: when it resolves, only the newest `keep` are left. Needed for replay. */
  expire?(site: Site, topic: string, keep: number): Promise<void>;
  /** Why nothing expires that a group has not acknowledged. Absent: it does. */
  readonly unreadStays?: string | undefined;
  /** Why retention by time can't be seen at work within a second. Absent: it can. */
  readonly slowRetention?: string | undefined;
}

/** Types a harness at its definition, so that mistakes show in the adapter's own file. */
export function defineHarness(harness: Harness): Harness {
  return harness;
}
