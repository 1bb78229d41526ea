import type { BrokerUrl, Capabilities, FactoryContext } from "brokerkit/driver";
import { capabilities, deepFreeze } from "./capabilities.ts";
import { invalid } from "./errors.ts";

export interface MemoryOptions {
  /** Names a world of topics that everything in this process shares by that name. Default: a world of the adapter value's own. */
  readonly world?: string | undefined;
  /** How long a delivery belongs to its receiver without being extended, ms, at least 1. Default 30,000. */
  readonly leaseMs?: number | undefined;
  /** How long a publish is remembered so that repeating it stores nothing, ms, 0 (off) or more. Default 5,000. */
  readonly dedupeMs?: number | undefined;
  /** A capability record to obey instead of memory's own: what it does not declare is refused, its limits are held. */
  readonly like?: Capabilities | undefined;
  /** Whose record `like` is, for texts. */
  readonly likeName?: string | undefined;
}

const NAMES = ["world", "leaseMs", "dedupeMs", "like", "likeName"];

/** Throws `INVALID_ARGUMENT` for unknown and for impossible options. */
export function checkOptions(options: MemoryOptions): void {
  for (const name of Object.keys(options)) {
    if (!NAMES.includes(name)) throw invalid(`there is no option "${name}"; known: ${NAMES.join(", ")}`);
  }
  const { world, leaseMs, dedupeMs, like, likeName } = options;
  if (world !== undefined && (typeof world !== "string" || world === "")) throw invalid('"world" must be a name');
  if (leaseMs !== undefined && !(Number.isFinite(leaseMs) && leaseMs >= 1)) throw invalid('"leaseMs" must be a number from 1');
  if (dedupeMs !== undefined && !(Number.isFinite(dedupeMs) && dedupeMs >= 0)) throw invalid('"dedupeMs" must be a number from 0');
  if (like !== undefined && (typeof like !== "object" || like === null)) throw invalid('"like" must be a capability record');
  if (likeName !== undefined && like === undefined) throw invalid('"likeName" says whose record "like" is, and there is none');
}

/** The record in force. Options shorten or stretch what the record has, and add nothing to it. */
export function recordOf({ leaseMs, dedupeMs, like = capabilities.memory }: MemoryOptions): Capabilities {
  if (leaseMs !== undefined && like.lease.ms === 0) throw invalid('"leaseMs" needs a record with leases');
  if (dedupeMs !== undefined && dedupeMs > 0 && like.dedupe.windowMs === 0) throw invalid('"dedupeMs" needs a record with a dedupe window');
  const contradiction = contradictionIn(like);
  if (contradiction !== undefined) throw invalid(`the record contradicts itself: ${contradiction}`);
  return deepFreeze({
    ...structuredClone(like),
    lease: { ...like.lease, ms: leaseMs ?? like.lease.ms },
    dedupe: { windowMs: dedupeMs ?? like.dedupe.windowMs },
  });
}

/** What no backend can be: acknowledging by prefix leaves nothing to own, count or give back one by one. */
function contradictionIn({ settle, lease, redelivery, priority, dedupe, delivery, groupInbox }: Capabilities): string | undefined {
  if (settle.unit === "prefix") {
    if (lease.ms > 0 || lease.extend) return 'settle.unit "prefix" with a lease for each delivery';
    if (redelivery.native || redelivery.counted !== "none") return 'settle.unit "prefix" with redelivery message by message';
    if (priority.levels > 0) return 'settle.unit "prefix" with priorities';
  }
  if (lease.extend && lease.ms === 0) return "lease.extend without lease.ms";
  if (delivery.group === "none" && groupInbox !== "none") return "groupInbox without groups";
  if (dedupe.windowMs === Number.POSITIVE_INFINITY) return "dedupe.windowMs without an end";
  return undefined;
}

/** `memory:name?like=…&leaseMs=…&dedupeMs=…`. Throws `INVALID_ARGUMENT` for other parts. */
export async function optionsOf(url: BrokerUrl, context: FactoryContext): Promise<MemoryOptions> {
  const { username, password } = url.credentials;
  if (url.hosts.length > 0 || username !== undefined || password !== undefined) {
    throw invalid('memory has no hosts and no users; write "memory:" for a world of its own, "memory:name" for a shared one');
  }
  const options: Record<string, unknown> = url.path === "" ? {} : { world: url.path };
  for (const [name, text] of url.options) {
    if (name === "leaseMs" || name === "dedupeMs") options[name] = text === "" ? Number.NaN : Number(text);
    else if (name === "like") {
      // Memory is like memory already.
      if (text !== "memory") Object.assign(options, { like: await context.capabilitiesOf(text), likeName: text });
    } else throw invalid(`there is no option "${name}" in a URL; known: like, leaseMs, dedupeMs`);
  }
  return options;
}
