import type { Broker, DeadLetter } from "brokerkit";
import { orders } from "../contracts.ts";

export async function look(broker: Broker<"groups">, since: Date): Promise<readonly string[]> {
  // #region list
  const dead = broker.topic(orders).group("billing").deadLetters;
  const lines: string[] = [];
  for await (const letter of dead.list({ since, limit: 50 })) {
    lines.push(`${letter.id} ${letter.reason} after ${letter.attempts}: ${letter.error?.message ?? ""} ${text(letter)}`);
  }
  // #endregion
  return lines;
}

// #region text
/** A body that could not be decoded is a dead letter too, so it may be no JSON. */
function text(letter: DeadLetter): string {
  try {
    return JSON.stringify(letter.json());
  } catch {
    return `${letter.bytes.length} bytes`;
  }
}
// #endregion

export async function sendBack(broker: Broker<"groups">, error: string): Promise<{ readonly matched: number; readonly moved: number }> {
  // #region redrive
  const dead = broker.topic(orders).group("billing").deadLetters;
  const filter = { reason: "attempts", where: (letter: DeadLetter) => letter.error?.message === error };

  const { matched } = await dead.redrive({ ...filter, dryRun: true });
  console.log(`${matched} would go back to billing, and to no other group`);
  const { moved } = await dead.redrive({ ...filter, perSecond: 100 });
  // #endregion
  return { matched, moved };
}

export async function forget(broker: Broker<"groups">, before: Date): Promise<number> {
  // #region purge
  const purged = await broker.topic(orders).group("billing").deadLetters.purge({ until: before });
  // #endregion
  return purged;
}
