import type { WireLag } from "brokerkit/driver";
import type { Session } from "../../client.ts";
import { groupMissing, isMissing } from "../../errors.ts";

interface PartLag {
  readonly count: number;
  readonly unacked: number;
  /** Epoch ms; infinite where nothing waits. */
  readonly oldest: number;
}

/** What a group has left in all partitions and in its inbox. */
export async function lagOf(session: Session, topic: string, group: string, signal: AbortSignal): Promise<WireLag> {
  const parts = await session.parts(topic, signal);
  const [inbox, ...main] = await Promise.all([session.inbox(topic, group), ...parts].map((part) => partLag(session, part, group, signal)));
  if (main.includes(undefined)) throw groupMissing(topic, group);
  const all = [inbox, ...main].filter((one) => one !== undefined);
  const oldest = Math.min(...all.map((one) => one.oldest));
  return {
    count: all.reduce((sum, { count }) => sum + count, 0),
    inFlight: all.reduce((sum, { unacked }) => sum + unacked, 0),
    oldestMs: Number.isFinite(oldest) ? Math.max(0, session.clock.now() - oldest) : 0,
  };
}

/** `undefined`: there is no such subscription. */
async function partLag({ rest }: Session, part: string, group: string, signal: AbortSignal): Promise<PartLag | undefined> {
  try {
    const stats = (await rest.stats(part, signal)).subscriptions[group];
    if (stats === undefined) return undefined;
    const { msgBacklog, unackedMessages: unacked, earliestMsgPublishTimeInBacklog: at } = stats;
    if (msgBacklog <= 0) return { count: 0, unacked, oldest: Number.POSITIVE_INFINITY };
    // The broker looks into no more than so many entries; the rest is taken to be like them.
    const { entries, messages } = await rest.analyzeBacklog(part, group, signal);
    const count = entries === 0 ? msgBacklog : Math.round((messages * Math.max(entries, msgBacklog)) / entries);
    return { count, unacked, oldest: at > 0 ? at : Number.POSITIVE_INFINITY };
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}
