import type { Clock } from "brokerkit/driver";
import type { Link, OpenLink } from "../client.ts";
import type { SharedLinks } from "./protocol/shared-links.ts";
import type { TopicKeys } from "./scripts/keys.ts";

/** How long closing waits for a server that does not answer. */
export const FAREWELL_MS = 1_500;

/** A member of a group, as its driver knows it. */
export interface Member {
  readonly topic: string;
  readonly group: string;
  /** The group was moved by this process, so nobody here has to find out. */
  moved(epoch: number): void;
}

/** What a driver lends to its subscriptions, cursors and its admin. */
export interface Session {
  readonly clock: Clock;
  readonly leaseMs: number;
  /** How long a read may wait: less than a second where the server forbids to end it from another connection. */
  readonly longestBlockMs: number;
  /** The connection for everything that neither publishes nor blocks. Throws UNAVAILABLE while it is down. */
  readonly control: () => Link;
  readonly keys: (topic: string) => TopicKeys;
  /** A connection of its own for a reader that blocks. */
  readonly open: OpenLink;
  readonly shared: SharedLinks;
  /** Connections that ended with something under way, which `fence` has the server close. */
  readonly abandoned: Set<Link>;
  /** A consumer name that nobody had before. It tells others how long this member's leases last. */
  readonly consumer: () => string;
  readonly members: Set<Member>;
  /** Everything open, to be closed with the driver. */
  readonly readers: Set<{ close(): Promise<void> }>;
  /** Consumers of this process that could not hand back what they had. */
  readonly orphans: Set<{ readonly topic: string; readonly group: string; readonly consumer: string }>;
}
