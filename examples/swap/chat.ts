// The application: a chat with rooms, and moderation behind it. It names no backend; where one lacks a verb, it asks before it calls.
import {
  type Broker,
  defineTopic,
  type EffectiveCapabilities,
  type Out,
  type Position,
  type Subscription,
  type TopicDefinition,
} from "brokerkit";
import { z } from "zod";

const WEEK_MS = 7 * 86_400_000;

// #region topic
export const Line: z.ZodObject<{ room: z.ZodString; user: z.ZodString; text: z.ZodString }> = z.object({
  room: z.string(),
  user: z.string(),
  text: z.string(),
});

/** What is said, in order per room. Lines are kept for a week, where the backend keeps anything. */
export function lines({ retention }: EffectiveCapabilities): TopicDefinition<typeof Line> {
  return defineTopic("chat.lines", {
    schema: Line,
    key: ({ room }) => room,
    partitions: 6, // where there are any: as many members of a group can work at once
    retention: retention.ms ? { ms: WEEK_MS } : undefined,
  });
}
// #endregion

type Heard = (line: Out<typeof Line>, id: string) => void;

/** A member who is in a room. */
export interface Visit {
  /** How many lines of before were read on joining; undefined where the backend keeps none. */
  readonly history: number | undefined;
  /** Ends it. Resolves to where to go on when coming back; undefined where the backend keeps nothing. */
  leave(): Promise<Position | undefined>;
}

// #region join
/** Joins a room: what was said since `left` (at first: ever) if the backend keeps it, then live, without a gap in between. */
export async function join(broker: Broker<never>, room: string, heard: Heard, left?: Position): Promise<Visit> {
  const topic = broker.topic(lines(broker.capabilities));
  const listen = (from?: Position): Promise<Subscription> =>
    topic.subscribe({ broadcast: true, from }, ({ id, payload }) => {
      if (payload.room === room) heard(payload, id);
    });
  if (!broker.supports("replay")) {
    const live = await listen();
    return { history: undefined, leave: async () => void (await live.close()) };
  }
  const kept = broker.topic(lines(broker.capabilities));
  const replay = kept.replay({ from: left ?? "earliest", key: room });
  let history = 0;
  for await (const { id, payload } of replay) {
    heard(payload, id);
    history++;
  }
  const live = await listen(await replay.end);
  const leave = async (): Promise<Position> => {
    await using now = kept.replay({ from: "earliest", key: room });
    const end = await now.end; // before the end of listening: what comes in between is heard twice rather than never
    await live.close();
    return end;
  };
  return { history, leave };
}
// #endregion

// #region moderate
/** Looks at every line of every room: `workers` of one group share them; where there are no groups one moderator listens to all. */
export async function moderate(broker: Broker<never>, workers: number, look: Heard): Promise<readonly Subscription[]> {
  const definition = lines(broker.capabilities);
  if (!broker.supports("groups"))
    return [await broker.topic(definition).subscribe({ broadcast: true }, ({ id, payload }) => look(payload, id))];
  const topic = broker.topic(definition);
  const deadLetter = broker.capabilities.supply.deadLetter === "none" ? "drop" : "keep";
  const member = (): Promise<Subscription> => topic.subscribe({ group: "moderation", deadLetter }, ({ id, payload }) => look(payload, id));
  return Promise.all(Array.from({ length: workers }, member));
}
// #endregion
