import type {
  Adapter,
  Capabilities,
  Cursor,
  Driver,
  PublishResult,
  SettleResult,
  Subscription,
  WireDelivery,
  WireRecord,
} from "brokerkit/driver";
import { pass } from "./wait.ts";

/** A conforming adapter with one fault built in, and the case that must catch it. */
export interface Mutant {
  readonly name: string;
  /** What goes wrong, in words for the table. */
  readonly does: string;
  readonly caughtBy: string;
  mutate(adapter: Adapter): Adapter;
}

/** An adapter whose drivers are changed by `change`; everything else passes through. */
function drivers(change: (driver: Driver) => Partial<Driver>): (adapter: Adapter) => Adapter {
  return (adapter) => ({ ...adapter, open: (context) => over(adapter.open(context), change) });
}

/** `inner` with some members replaced. Members keep their own `this`. */
function over<T extends object>(inner: T, change: (inner: T) => Partial<T>): T {
  const changed: Partial<T> = change(inner);
  return new Proxy(inner, {
    get: (target, name) => {
      if (Object.hasOwn(changed, name)) return Reflect.get(changed, name);
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

function subscriptions(change: (subscription: Subscription, count: number) => Partial<Subscription>): (adapter: Adapter) => Adapter {
  return drivers((driver) => {
    let count = 0;
    return {
      subscribe: async (request, signal) => {
        count += 1;
        const nth = count;
        return over(await driver.subscribe(request, signal), (inner) => change(inner, nth));
      },
    };
  });
}

function publishing(
  change: (
    records: readonly WireRecord[],
    next: (records: readonly WireRecord[]) => Promise<readonly PublishResult[]>,
  ) => Promise<readonly PublishResult[]>,
): (adapter: Adapter) => Adapter {
  return drivers((driver) => ({ publish: (records, signal) => change(records, (those) => driver.publish(those, signal)) }));
}

/** Deliveries are settlement handles by identity, so what is changed is put on top of the same object's fields. */
function receiving(change: (delivery: WireDelivery) => Partial<WireDelivery>): (adapter: Adapter) => Adapter {
  return subscriptions((inner) => {
    const originals = new WeakMap<WireDelivery, WireDelivery>();
    const back = (deliveries: readonly WireDelivery[]): readonly WireDelivery[] => deliveries.map((one) => originals.get(one) ?? one);
    return {
      receive: async (max, waitMs, signal) =>
        (await inner.receive(max, waitMs, signal)).map((one) => {
          const changed: WireDelivery = over(one, change);
          originals.set(changed, one);
          return changed;
        }),
      ack: (deliveries) => inner.ack(back(deliveries)),
      nack: async (items) =>
        (await inner.nack?.(items.map((item) => ({ ...item, delivery: originals.get(item.delivery) ?? item.delivery })))) ?? [],
      extend: async (deliveries, ms) => (await inner.extend?.(back(deliveries), ms)) ?? [],
    };
  });
}

function cursors(change: (cursor: Cursor) => Partial<Cursor>): (adapter: Adapter) => Adapter {
  return drivers((driver) => ({ replay: async (request, signal) => over(await driver.replay(request, signal), change) }));
}

const sameKey = (a: WireRecord | undefined, b: WireRecord | undefined): boolean =>
  a?.key !== undefined && b?.key !== undefined && Buffer.compare(a.key, b.key) === 0 && a.target.topic === b.target.topic;

function swapped(records: readonly WireRecord[]): WireRecord[] {
  const list = [...records];
  for (let n = 0; n + 1 < list.length; n += 1) {
    const twin = list.findIndex((other, at) => at > n && sameKey(list[n], other));
    const [one, other] = [list[n], list[twin]];
    if (twin < 0 || one === undefined || other === undefined) continue;
    list[n] = other;
    list[twin] = one;
    return list;
  }
  return list;
}

/** Deliveries that one member has had and another is to have too, by topic and group: shared by every connection. */
const spare = new Map<string, WireDelivery[]>();

/** Each is a way in which real systems have lost, doubled or reordered messages. */
export const MUTANTS: readonly Mutant[] = Object.freeze([
  {
    name: "acks-before-the-handler",
    does: "acknowledges what it receives before any handler has run",
    caughtBy: "ack/redelivered-after-close",
    mutate: subscriptions((inner) => ({
      receive: async (max, waitMs, signal) => {
        const got = await inner.receive(max, waitMs, signal);
        if (got.length > 0) await inner.ack(got);
        return got;
      },
    })),
  },
  {
    name: "drops-on-reconnect",
    does: "throws away what it receives first after subscribing again",
    caughtBy: "lifecycle/reconnect-unsettled",
    mutate: subscriptions((inner, count) => {
      let first = count > 1;
      return {
        receive: async (max, waitMs, signal) => {
          const got = await inner.receive(max, waitMs, signal);
          if (!first || got.length === 0) return got;
          first = false;
          await inner.ack(got);
          return [];
        },
      };
    }),
  },
  {
    name: "commits-only-the-last",
    does: "settles only the last of the deliveries (partitions) that one ack names",
    caughtBy: "ack/batch",
    mutate: subscriptions((inner) => ({
      ack: async (deliveries): Promise<readonly SettleResult[]> => {
        await inner.ack(deliveries.slice(-1));
        return deliveries.map(() => "confirmed");
      },
    })),
  },
  {
    name: "retries-with-a-new-id",
    does: "sends again by itself what failed, under another id",
    caughtBy: "publish/retry-same-id",
    mutate: publishing(async (records, next) => {
      const results = await next(records);
      const failed = records.filter((_, n) => results[n]?.ok === false);
      if (failed.length === 0) return results;
      const again = [
        ...(await next(failed.map((record) => ({ ...record, id: `${record.id}-again`, dedupeId: `${record.dedupeId}-again` })))),
      ];
      return results.map((result) => (result.ok ? result : (again.shift() ?? result)));
    }),
  },
  {
    name: "swaps-two-sends",
    does: "stores two records of one key in the wrong order",
    caughtBy: "publish/order-per-key",
    mutate: publishing((records, next) => next(swapped(records))),
  },
  {
    name: "replays-an-old-position",
    does: "starts a replay from a position at the beginning",
    caughtBy: "replay/position",
    mutate: drivers((driver) => ({
      replay: (request, signal) =>
        driver.replay(request.from.kind === "position" ? { ...request, from: { kind: "earliest" } } : request, signal),
    })),
  },
  {
    name: "truncates-a-payload",
    does: "cuts bodies at 1,000 bytes",
    caughtBy: "payload/binary",
    mutate: publishing((records, next) =>
      next(records.map((record) => ({ ...record, body: record.body === null ? null : record.body.subarray(0, 1_000) }))),
    ),
  },
  {
    name: "forges-a-header",
    does: "adds a header that nobody wrote",
    caughtBy: "payload/own-headers-hidden",
    mutate: receiving((delivery) => ({ headers: [...delivery.headers, ["x-forged", Buffer.from("1")]] })),
  },
  {
    name: "loses-on-nack",
    does: "settles what is given back",
    caughtBy: "nack/crash-counts",
    mutate: subscriptions((inner) => ({ nack: (items) => inner.ack(items.map((item) => item.delivery)) })),
  },
  {
    name: "ignores-the-delay",
    does: "delivers delayed messages at once",
    caughtBy: "delay/publish",
    mutate: publishing((records, next) => next(records.map((record) => ({ ...record, delayMs: undefined })))),
  },
  {
    name: "delivers-to-two-members",
    does: "gives a group's messages to a second member as well",
    caughtBy: "subscribe/group-shares",
    mutate: drivers((driver) => ({
      subscribe: async (request, signal) =>
        over(await driver.subscribe(request, signal), (inner) => {
          const name = `${request.topic}/${request.group}`;
          const mine = new Set<WireDelivery>();
          return {
            receive: async (max, waitMs, stop) => {
              const copies = (spare.get(name) ?? []).filter((one) => !mine.has(one)).slice(0, max);
              if (copies.length > 0) {
                spare.delete(name);
                return copies;
              }
              const got = await inner.receive(max, Math.min(waitMs, 20), stop);
              for (const one of got) mine.add(one);
              if (got.length > 0) spare.set(name, [...(spare.get(name) ?? []), ...got.slice(0, 1)]);
              return got;
            },
            ack: async (deliveries) => {
              await inner.ack(deliveries.filter((one) => mine.has(one)));
              return deliveries.map(() => "confirmed");
            },
          };
        }),
    })),
  },
  {
    name: "resumes-past-an-unacked",
    does: "settles everything delivered before the acknowledged message too",
    caughtBy: "ack/gap",
    mutate: subscriptions((inner) => {
      const owned: WireDelivery[] = [];
      return {
        receive: async (max, waitMs, signal) => {
          const got = await inner.receive(max, waitMs, signal);
          owned.push(...got);
          return got;
        },
        ack: async (deliveries): Promise<readonly SettleResult[]> => {
          const last = Math.max(...deliveries.map((one) => owned.indexOf(one)));
          await inner.ack(owned.splice(0, last + 1));
          return deliveries.map(() => "confirmed");
        },
      };
    }),
  },
  {
    name: "hides-a-publish-error",
    does: "answers ok for a record that was not stored",
    caughtBy: "publish/batch-partial-failure",
    mutate: publishing(async (records, next) => (await next(records)).map((result) => (result.ok ? result : { ok: true }))),
  },
  {
    name: "claims-what-it-cannot",
    does: "says that it has more priority levels, and lanes for keys, than it has",
    caughtBy: "expected-capabilities",
    mutate: (adapter) => {
      const more = (c: Capabilities): Capabilities => ({
        ...c,
        priority: { levels: c.priority.levels + 100 },
        retention: { ms: true, bytes: true, compact: true },
      });
      return drivers((driver) => ({
        capabilities: more(driver.capabilities),
        connect: async (signal) => more(await driver.connect(signal)),
        describe: async (topic, signal) => more(await driver.describe(topic, signal)),
      }))({ ...adapter, capabilities: more(adapter.capabilities) });
    },
  },
  {
    name: "redrives-under-the-old-id",
    does: "publishes a redriven or requeued message under its first dedupe id, inside the window",
    caughtBy: "dead-letter/redrive-again",
    mutate: (adapter) => {
      const acts = new Set<string>();
      return publishing(async (records, next) => {
        // A window of its own, in case the backend has none: an act already seen stores nothing and says so.
        const fresh = records.map((record) => {
          const act = `${record.target.topic}/${record.id}`;
          const seen = record.target.group !== undefined && acts.has(act);
          if (!record.target.topic.endsWith(".dead")) acts.add(act);
          return !seen;
        });
        const results = [...(await next(records.filter((_, n) => fresh[n])))];
        return records.map(
          (_, n): PublishResult => (fresh[n] === true ? (results.shift() ?? { ok: true }) : { ok: true, duplicate: true }),
        );
      })(adapter);
    },
  },
  {
    name: "overtakes-what-is-in-doubt",
    does: "settles an aborted publish while its bytes are still on their way, so that the key's next one leaves",
    caughtBy: "publish/in-doubt-order",
    mutate: drivers((driver) => ({
      publish: async (records, signal) => {
        const aborted = new Promise<readonly PublishResult[]>((resolve) => {
          signal.addEventListener("abort", () =>
            resolve(records.map(() => ({ ok: false, error: signal.reason as unknown, sent: "maybe" }))),
          );
        });
        return await Promise.race([driver.publish(records, new AbortController().signal), aborted]);
      },
    })),
  },
  {
    name: "extends-what-it-lost",
    does: "says that it extended a lease which it no longer owns",
    caughtBy: "lease/extend-only-owned",
    mutate: subscriptions((inner) => ({
      extend: async (deliveries, ms) => ((await inner.extend?.(deliveries, ms)) ?? []).map((): SettleResult => "confirmed"),
    })),
  },
  {
    name: "settles-under-a-lost-shard",
    does: "keeps the loss of a shard to itself, so that what was delivered under it is settled",
    caughtBy: "ack/lost-shard",
    mutate: drivers((driver) => ({
      subscribe: (request, signal) => driver.subscribe({ ...request, events: { ...request.events, lost: () => {} } }, signal),
    })),
  },
  {
    name: "ends-at-the-last-message",
    does: "takes a replay for complete when the last message came, not when the fetch position is there",
    caughtBy: "replay/empty",
    mutate: cursors((inner) => {
      let seen = false;
      return {
        receive: async (max, waitMs, signal) => {
          const { deliveries, atEnd } = await inner.receive(max, waitMs, signal);
          seen ||= deliveries.length > 0;
          // It would be asked again at once, for ever.
          if (!seen) await pass(5);
          return { deliveries, atEnd: atEnd && seen };
        },
      };
    }),
  },
]);
