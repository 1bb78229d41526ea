import type { WireStart } from "brokerkit/driver";
import type { Session } from "../../client.ts";
import { classify } from "../../errors.ts";
import { idOfSpot, type Spot, spotsOf } from "../../mapping.ts";
import type { RestPosition } from "../rest.ts";
import { UNDO_MS } from "../retention.ts";

type Made = "created" | "existing";

/** Makes a group where it is missing: its subscription on every partition, and its inbox. */
export async function makeGroup(session: Session, topic: string, group: string, from: WireStart, signal: AbortSignal): Promise<Made> {
  const parts = await session.parts(topic, signal);
  // Without the admin service members make it when they come, which can start at either end only.
  if (!session.administered) return "existing";
  const listed = await Promise.all(parts.map((part) => session.rest.subscriptions(part, signal)));
  if (listed.every((names) => names.includes(group))) return "existing";
  if (from.kind === "latest" || from.kind === "earliest") await begin(session, session.full(topic), group, from.kind, signal);
  else await beginAt(session, parts, group, from, signal);
  await makeInbox(session, topic, group, signal);
  return listed.some((names) => names.includes(group)) ? "existing" : "created";
}

/** The topic that is a group's inbox. Whoever may not make topics does without, unless it is there. */
export async function makeInbox(session: Session, topic: string, group: string, signal: AbortSignal): Promise<void> {
  const inbox = session.inbox(topic, group);
  try {
    await session.rest.createTopic(inbox, 0, signal);
    await begin(session, inbox, group, "earliest", signal);
  } catch (error) {
    if (classify(error).code !== "FORBIDDEN") throw error;
  }
}

/**
 * Makes the subscriptions that are missing by reading from them for a moment: of several who do so at once one makes it and the others find
 * it, whereas the admin service would set it back for each of them.
 */
async function begin(session: Session, topic: string, group: string, kind: "latest" | "earliest", signal: AbortSignal): Promise<void> {
  const { subscriptionType: type } = session.settings;
  const options = { topic, subscription: group, type, durable: true, from: { kind }, credit: 1, events: { closed: () => {} } };
  await (await session.transport().consumer(options, signal)).close();
}

/**
 * Makes the subscriptions that are missing by the admin service, each at its place at once: whoever finds one finds it there. In the middle of
 * a batch it begins with the batch, and is moved into it then.
 */
async function beginAt(
  { rest }: Session,
  parts: readonly string[],
  group: string,
  from: Extract<WireStart, { kind: "time" | "position" }>,
  signal: AbortSignal,
): Promise<void> {
  const made: string[] = [];
  const beginning = parts.map(async (part, partition) => {
    const spot = from.kind === "position" ? spotsOf(from.cut).get(partition) : undefined;
    const at = from.kind === "time" ? { ...(await rest.idAtTime(part, from.ms, signal)), batchIndex: -1 } : behind(spot);
    if ((await rest.createSubscription(part, group, at, signal)) === "existing") return;
    made.push(part);
    if (spot !== undefined && Number.isFinite(spot.index)) await rest.resetToId(part, group, idOfSpot(partition, spot), true, signal);
  });
  const failed = (await Promise.allSettled(beginning)).find((one) => one.status === "rejected");
  if (failed === undefined) return;
  // Left where they are, the next attempt would take them for a group that began where it was told.
  await Promise.allSettled(made.map((part) => rest.deleteSubscription(part, group, AbortSignal.timeout(UNDO_MS))));
  throw failed.reason;
}

/** The entry that is read first where everything up to a spot is not. Without a spot there is nothing before the cut. */
function behind(spot: Spot | undefined): RestPosition {
  if (spot === undefined) return "earliest";
  return { ledger: spot.ledger, entry: Number.isFinite(spot.index) ? spot.entry : spot.entry + 1, batchIndex: -1 };
}

/** Moves a subscription of one partition; whoever reads it is disconnected. */
export async function move(
  { rest }: Session,
  part: string,
  partition: number,
  group: string,
  to: WireStart,
  signal: AbortSignal,
): Promise<void> {
  if (to.kind === "time") return rest.resetToTime(part, group, to.ms, signal);
  const spot = to.kind === "position" ? spotsOf(to.cut).get(partition) : undefined;
  // Without a spot there is nothing before the cut.
  if (spot !== undefined) await rest.resetToId(part, group, idOfSpot(partition, spot), true, signal);
  else await rest.resetToId(part, group, to.kind === "latest" ? "latest" : "earliest", false, signal);
}
