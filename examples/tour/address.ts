// Where the backend is: the URL that the tour was given, and the URLs that it makes of it.
import { type Broker, connect, isBrokerError } from "brokerkit";

/** What a dead worker held comes again after its lease, or its session; a tour does not want to wait for a long one. */
const LEASE_MS = 2_000;
/** Servers rarely allow less by default. */
const SESSION_MS = 6_000;

/** The same backend with a lease or a session of a few seconds, where it has a longer one and takes the usual option. */
export async function withShortLease(url: string, broker: Broker, prefix: string): Promise<{ broker: Broker; url: string } | undefined> {
  const { delivery, lease } = broker.capabilities;
  if (delivery.group !== "at-least-once" || (lease.ms > 0 && lease.ms <= LEASE_MS) || /[?&](lease|sessionTimeout)Ms=/.test(url)) {
    return undefined;
  }
  const option = lease.ms > 0 ? `leaseMs=${LEASE_MS}` : `sessionTimeoutMs=${SESSION_MS}`;
  const shorter = `${url}${url.includes("?") ? "&" : "?"}${option}`;
  try {
    const again = await connect(shorter, { prefix });
    await broker.close();
    return { broker: again, url: shorter };
  } catch (error) {
    if (isBrokerError(error, "INVALID_ARGUMENT")) return undefined;
    throw error;
  }
}

/** Where a proxy could stand in a URL: its first host, in place of all of them. `undefined` where it names no host and port. */
export function addressOf(url: string): { host: string; port: number; before: string; after: string } | undefined {
  const match = /^([a-z][a-z0-9+.-]*:\/\/(?:[^@/?]*@)?)(\[[^\]]+\]|[^:/?,]+):(\d+)(?:,[^/?]*)?(.*)$/i.exec(url);
  if (match === null) return undefined;
  const [, before = "", host = "", port = "", after = ""] = match;
  return { host: host.replace(/^\[|\]$/g, ""), port: Number(port), before, after };
}
