import { randomBytes } from "node:crypto";
import type { Session } from "../../client.ts";
import { type Spot, spotOfId } from "../../mapping.ts";

/** A consumer that shares with nobody and leaves nothing behind. Groups hold no `~`. */
export function nobody(): { readonly type: "exclusive"; readonly durable: false; readonly subscription: string } {
  return { type: "exclusive", durable: false, subscription: `brokerkit~${randomBytes(9).toString("base64url")}` };
}

/** The last message of each partition that has one. */
export async function endsOf(session: Session, topic: string, signal: AbortSignal): Promise<Map<number, Spot>> {
  const looking = await session
    .transport()
    .consumer({ topic: session.full(topic), ...nobody(), from: { kind: "latest" }, credit: 1, events: { closed: () => {} } }, signal);
  try {
    const ids = await looking.lastMessageIds(signal);
    return new Map(ids.map((id) => [id.partition, spotOfId(id)]));
  } finally {
    await looking.close();
  }
}
