import type { Capabilities } from "../driver/capabilities.ts";
import type { Subscription } from "../driver/driver.ts";
import type { WireDelivery } from "../driver/wire.ts";
import { type ReadLetter, readLetter } from "./letter.ts";

/**
 * The group that keeps letters on a backend that keeps nothing without a group. It is made with the dead topic, before the first message
 * can die.
 */
export const KEEPER = "letters";

/** Letters are read as a log, by replays; otherwise the group above keeps them. */
export function isLogged({ from }: Capabilities): boolean {
  return from.replay.includes("earliest");
}

/** How long a group may be silent before there is nothing more in it. */
const SILENT_MS = 500;
/** Letters that came back because their lease ended while others were looked at: so often in a row, and there is nothing new. */
const TURNS = 3;

/** A letter that was taken out of its group to be looked at. */
export interface HeldLetter {
  readonly read: ReadLetter;
  /** It is dealt with: it does not go back. */
  settle(): Promise<void>;
}

export interface HeldOptions {
  /** Most letters to take at a time. */
  readonly max: number;
  /** Most letters that can be out at once. */
  readonly most: number;
  readonly stop: AbortSignal;
  /** More are waiting than can be out at once: throws. */
  readonly full: () => never;
}

/**
 * Takes letters out one after the other, each id once; those that were not settled go back when the reading ends, and closes the
 * subscription. Several readers at once see parts of it: what one has in hand the other does not find.
 */
export async function* heldLetters(subscription: Subscription, o: HeldOptions): AsyncGenerator<HeldLetter, void, void> {
  const seen = new Set<string>();
  const settled = new Map<string, number>();
  const settle = async (wire: WireDelivery): Promise<void> => {
    const [result] = await subscription.ack([wire]);
    if (typeof result === "object") throw result.error;
  };
  try {
    for (let stale = 0; stale < TURNS && !o.stop.aborted; ) {
      const batch = await subscription.receive(o.max, SILENT_MS, o.stop);
      if (batch.length === 0) return;
      let fresh = 0;
      for (const wire of batch) {
        const read = readLetter(wire);
        if (read?.kind !== "dead") continue;
        const { id, cycle } = read;
        // The same letter, stored twice.
        if (cycle <= (settled.get(id) ?? -1)) await settle(wire);
        if (seen.has(id)) continue;
        if (seen.size >= o.most) o.full();
        seen.add(id);
        fresh++;
        yield {
          read,
          settle: async () => {
            await settle(wire);
            settled.set(id, cycle);
          },
        };
      }
      stale = fresh === 0 ? stale + 1 : 0;
    }
  } finally {
    try {
      await subscription.flush();
    } finally {
      await subscription.close();
    }
  }
}
