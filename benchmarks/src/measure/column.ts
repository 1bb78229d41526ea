import type { Account } from "./account.ts";
import type { Messages } from "./messages.ts";
import type { Workload } from "./workload.ts";

/** Where a backend is for one run. */
export interface Site {
  /** The adapter's name, as `npm run bench -- <adapter>` takes it. */
  readonly adapter: string;
  /** What brokerkit's columns connect to; `""` where a column brings its own adapter. */
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** A folder of this site's own, for backends that are files. */
  readonly folder: string;
  /** `stored`: published first, consumed later. `live`: only who listens receives, so consuming alone can't be measured. */
  readonly delivery: "stored" | "live";
  /** `false`: this backend keeps no order within a key, so a run is not judged by it. */
  readonly ordered?: boolean | undefined;
}

/** tuned, naive: the plain client. sdk: brokerkit as applications use it. ladder: what each layer adds. floor: core without a backend. */
export type Kind = "tuned" | "naive" | "sdk" | "ladder" | "floor";

/** One way to publish and consume: a column of the table. A module in columns/<adapter>/ or sdk/ exports it as `column`. */
export interface Column {
  readonly title: string;
  readonly kind: Kind;
  /** What it does, in one line for the documentation. */
  readonly summary: string;
  /** npm packages that an application installs for it. */
  readonly packages: (site: Pick<Site, "adapter">) => readonly string[];
  /** Takes part in the latency rounds. */
  readonly latency: boolean;
  /** Imports its client here, not at the top: a cold start is measured from this call on. */
  open(site: Site, workload: Workload): Promise<Session>;
}

/** An open client. One topic at a time; calls never overlap but for `publish` and `send` beside a running consumer. */
export interface Session {
  /** Names the topic that the next calls are about, without a round trip. */
  attach(topic: string): void;
  /** Makes the attached topic, and what keeps its messages for the consumer. */
  create(): Promise<void>;
  /** Publishes messages `first` … `first + count - 1` the fastest documented way. Resolves when the backend has confirmed all. */
  publish(messages: Messages, first: number, count: number): Promise<void>;
  /** Sends these at once, whatever is under way. Resolves when they are confirmed. */
  send(messages: Messages, first: number, count: number): Promise<void>;
  /** Consumes into `account`, acknowledging everything. Resolves when it is subscribed. */
  consume(account: Account): Promise<Consumer>;
  /** Removes the attached topic. */
  remove(): Promise<void>;
  /** Judges a run by the history checker; brokerkit's columns only. Resolves to the reasons against it, [] when valid. */
  verify?(historyFolder: string, count: number): Promise<Verified>;
  close(): Promise<void>;
}

export interface Consumer {
  /** Resolves when everything handled so far is acknowledged on the backend. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface Verified {
  readonly published: number;
  readonly received: number;
  readonly lost: number;
  readonly duplicates: number;
  readonly reasons: readonly string[];
}

/** A backend for benchmarks: `sites` in columns/<adapter>/site.ts lists one per durability level. */
export interface SiteRecipe {
  readonly name: string;
  /** What a confirmed publish has reached, and by which setting: printed beside every figure. */
  readonly durability: string;
  start(folder: string): Promise<RunningSite>;
}

export interface RunningSite {
  readonly site: Site;
  /** Versions as the servers tell them, by name. */
  readonly versions: Readonly<Record<string, string>>;
  /** Two client processes reach the same topics. */
  readonly shared: boolean;
  /** Lets the backend tidy up between rounds. */
  settle?(): Promise<void>;
  close(): Promise<void>;
}

/** A load tool of the backend's own: the ceiling. A module native-*.ts in columns/<adapter>/ exports it as `native`. */
export interface Native {
  readonly title: string;
  readonly summary: string;
  /** The program and its arguments; undefined where it is not installed. */
  command(site: Site, workload: Workload, count: number): readonly string[] | undefined;
  /** Messages a second, from its output. */
  read(output: string): number;
}
