import type { Lookup } from "./lookup.ts";
import type { Settings } from "./options.ts";
import type { Pool } from "./pool.ts";

/** What the producers and consumers of one client share. */
export interface Services {
  readonly settings: Settings;
  readonly pool: Pool;
  readonly lookup: Lookup;
  /** Those that are open, to be closed with the client. */
  readonly open: Set<{ close(): Promise<void> }>;
}
