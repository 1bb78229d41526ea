/** An entry's place in one partition. */
export interface Position {
  readonly ledger: number;
  /** -1: before the ledger's first. */
  readonly entry: number;
}

/** Of one partition, under the service's own names: https://pulsar.apache.org/docs/4.0.x/admin-api-topics/#get-stats */
export interface TopicStats {
  readonly subscriptions: Readonly<Record<string, SubscriptionStats>>;
}

export interface SubscriptionStats {
  /** Messages that are not acknowledged, or entries where the broker keeps no count of messages: then a batch is one. */
  readonly msgBacklog: number;
  /** Delivered and not acknowledged. */
  readonly unackedMessages: number;
  /** Epoch ms; 0 or less where nothing is left. */
  readonly earliestMsgPublishTimeInBacklog: number;
}

/** Of one partition: https://pulsar.apache.org/docs/4.0.x/admin-api-topics/#get-internal-stats */
export interface InternalStats {
  /** Oldest first; the last one is written to, and its counts are 0 until it is closed. */
  readonly ledgers: readonly { readonly ledgerId: number; readonly entries: number }[];
  readonly cursors: Readonly<Record<string, CursorStats>>;
}

export interface CursorStats {
  /** All up to here is acknowledged. */
  readonly markDelete: Position;
}

export function topicStatsOf(answer: unknown): TopicStats {
  return { subscriptions: recordOf(objectOf(answer)["subscriptions"], subscriptionOf) };
}

function subscriptionOf(answer: unknown): SubscriptionStats {
  const { msgBacklog, unackedMessages, earliestMsgPublishTimeInBacklog } = objectOf(answer);
  return {
    msgBacklog: numberOf(msgBacklog),
    unackedMessages: numberOf(unackedMessages),
    earliestMsgPublishTimeInBacklog: numberOf(earliestMsgPublishTimeInBacklog),
  };
}

export function internalStatsOf(answer: unknown): InternalStats {
  const { ledgers, cursors } = objectOf(answer);
  return {
    ledgers: listOf(ledgers).map((one) => {
      const { ledgerId, entries } = objectOf(one);
      return { ledgerId: numberOf(ledgerId), entries: numberOf(entries) };
    }),
    cursors: recordOf(cursors, (one) => ({ markDelete: positionOf(objectOf(one)["markDeletePosition"]) })),
  };
}

/** `12:3` → ledger 12, entry 3. */
function positionOf(value: unknown): Position {
  const [, ledger, entry] = /^(-?\d+):(-?\d+)$/.exec(String(value)) ?? [];
  if (entry === undefined) throw unexpected("a position", value);
  return { ledger: Number(ledger), entry: Number(entry) };
}

export function objectOf(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw unexpected("an object", value);
  return value as Readonly<Record<string, unknown>>;
}

export function numberOf(value: unknown): number {
  if (typeof value !== "number") throw unexpected("a number", value);
  return value;
}

export function textsOf(value: unknown): readonly string[] {
  return listOf(value).map(String);
}

function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw unexpected("a list", value);
  return value;
}

function recordOf<T>(value: unknown, read: (one: unknown) => T): Readonly<Record<string, T>> {
  return Object.fromEntries(Object.entries(objectOf(value)).map(([name, one]) => [name, read(one)]));
}

function unexpected(what: string, value: unknown): Error {
  return new Error(
    `The admin service answered with something else than ${what}: ${String(JSON.stringify(value)).slice(0, 80)}. Is it a Pulsar broker?`,
  );
}
