import type { Cursor, ReplayRequest, WireStart } from "brokerkit/driver";
import type { Session } from "./client.ts";
import { compareSpots, type Spot, spotsOf } from "./mapping.ts";
import { endsOf } from "./protocol/reading/ends.ts";
import { openReader } from "./protocol/reading/reader.ts";
import { lossesUpTo, Replay } from "./protocol/reading/replay.ts";

export async function openCursor(session: Session, request: ReplayRequest, signal: AbortSignal): Promise<Cursor> {
  const { topic, from, to } = request;
  const follow = request.follow && to === undefined;
  // Also where there is nothing to read: a topic that is missing has no end.
  const parts = await session.parts(topic, signal);
  const ends = await endsOf(session, topic, signal);
  if (to !== undefined) await bound(session, parts, ends, to, signal);
  const before = await spotsBefore(session, parts, from, signal);
  const events = follow ? request.events : lossesUpTo(ends, request.events);
  const reader = await openReader(session, { topic, from, events }, signal, ends);
  return new Replay(reader, events, { before, ends, follow });
}

/** Behind which spots a start lies. Of partitions that are missing everything comes. */
async function spotsBefore(
  session: Session,
  parts: readonly string[],
  start: WireStart,
  signal: AbortSignal,
): Promise<ReadonlyMap<number, Spot>> {
  if (start.kind === "position") return spotsOf(start.cut);
  if (start.kind !== "time") return new Map();
  const spots = parts.map(async (part, partition): Promise<readonly [number, Spot]> => {
    const { ledger, entry } = await session.rest.idAtTime(part, start.ms, signal);
    return [partition, { ledger, entry: entry - 1, index: Number.POSITIVE_INFINITY }];
  });
  return new Map(await Promise.all(spots));
}

/** Takes back the ends to what lies before `to`. */
async function bound(
  session: Session,
  parts: readonly string[],
  ends: Map<number, Spot>,
  to: WireStart,
  signal: AbortSignal,
): Promise<void> {
  const before = await spotsBefore(session, parts, to, signal);
  for (const [partition, end] of [...ends]) {
    const until = before.get(partition);
    if (until === undefined) ends.delete(partition);
    else if (compareSpots(until, end) < 0) ends.set(partition, until);
  }
}
