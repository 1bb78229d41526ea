import type { Retention } from "brokerkit/driver";
import { classify, isMissing } from "../errors.ts";
import type { Rest, RetentionPolicy } from "./rest.ts";

/** Retention of topics that are made here and do not say, where neither their namespace nor the broker keeps anything. */
const USUAL: RetentionPolicy = { minutes: 7 * 24 * 60, megabytes: -1 };
/** For taking back what was made by half, when the call's own signal may have ended already. */
export const UNDO_MS = 500;
const MINUTE_MS = 60_000;
const MEGABYTE = 1_048_576;

/**
 * Gives a new topic the retention that is asked for, or a usual one where neither its namespace nor the broker keeps anything. A topic that
 * does not get it is deleted again: the next attempt would take it for one that is complete.
 */
export async function provide(rest: Rest, topic: string, asked: Retention | undefined, signal: AbortSignal): Promise<void> {
  try {
    // What is acknowledged would be gone at once, and what nobody has subscribed to never there.
    const policy = policyOf(asked) ?? (keeps(await rest.retention(topic, signal)) ? undefined : USUAL);
    if (policy !== undefined) await rest.setRetention(topic, policy, signal);
  } catch (error) {
    await rest.deleteTopic(topic, AbortSignal.timeout(UNDO_MS)).catch(() => {});
    throw error;
  }
}

/** Whether what is acknowledged stays readable. Whoever may not ask takes it that it does, and a topic that is not there is found out elsewhere. */
export async function keepsTopic(rest: Rest | undefined, topic: string, signal: AbortSignal): Promise<boolean> {
  try {
    return rest === undefined || keeps(await rest.retention(topic, signal));
  } catch (error) {
    if (classify(error).code === "FORBIDDEN" || isMissing(error)) return true;
    throw error;
  }
}

function keeps(policy: RetentionPolicy | undefined): boolean {
  return policy !== undefined && policy.minutes !== 0 && policy.megabytes !== 0;
}

function policyOf(retention: Retention | undefined): RetentionPolicy | undefined {
  if (retention?.ms === undefined && retention?.bytes === undefined) return undefined;
  const { ms = -1, bytes = -1 } = retention;
  return {
    minutes: ms < 0 ? -1 : Math.max(1, Math.ceil(ms / MINUTE_MS)),
    megabytes: bytes < 0 ? -1 : Math.max(1, Math.ceil(bytes / MEGABYTE)),
  };
}

export function retentionOf({ minutes, megabytes }: RetentionPolicy = { minutes: 0, megabytes: 0 }): Retention | undefined {
  const set = { ...(minutes >= 0 ? { ms: minutes * MINUTE_MS } : {}), ...(megabytes >= 0 ? { bytes: megabytes * MEGABYTE } : {}) };
  return Object.keys(set).length === 0 ? undefined : set;
}
