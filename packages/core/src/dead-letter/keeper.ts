import type { Clock } from "../driver/adapter.ts";
import type { WireRecord } from "../driver/wire.ts";
import { isBrokerError } from "../errors.ts";
import type { Receipt } from "../message.ts";
import { sleep } from "../primitives/sleep.ts";
import { renamed, shortened } from "./letter.ts";

const LONGEST_PAUSE_MS = 30_000;
const TRY_MS = 10_000;

export interface KeeperWiring {
  readonly clock: Clock;
  readonly publish: (record: WireRecord, timeoutMs: number, signal: AbortSignal) => Promise<Receipt>;
  readonly failed: (error: unknown) => void;
}

/**
 * Publishes a copy of a message (dead letter, requeue) until the backend has confirmed it; only then may the original be acknowledged.
 * Tries for as long as `wanted` says so: a copy that can't be stored loses nothing. Resolves to whether the copy is stored.
 */
export async function keepCopy(wiring: KeeperWiring, record: WireRecord, wanted: () => boolean, stop: AbortSignal): Promise<boolean> {
  let attempt = record;
  for (let pause = 100; wanted() && !stop.aborted; pause = Math.min(LONGEST_PAUSE_MS, pause * 2)) {
    try {
      const receipt = await wiring.publish(attempt, TRY_MS, stop);
      if (!receipt.duplicate) return true;
      // Somebody's copy, not one we know of: only a copy of our own lets the original go.
      attempt = renamed(attempt, record.dedupeId);
    } catch (error) {
      if (isBrokerError(error, "CLOSED", "ABORTED")) return false;
      // What is ours to say gives way to what is the message's own.
      const shorter = isBrokerError(error, "TOO_LARGE") ? shortened(attempt) : undefined;
      if (shorter !== undefined) {
        attempt = shorter;
        continue;
      }
      wiring.failed(error);
      await sleep(wiring.clock, pause, stop);
    }
  }
  return false;
}
