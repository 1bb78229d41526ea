import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Place, WireDelivery } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { administrator } from "../recipe.ts";
import { pulsar } from "../src/index.ts";
import { placeOf, type Spot, spotOf } from "../src/mapping.ts";
import { at, defer, fresh, ids, open, read, records, soon, startServer, store, until } from "./stage.ts";

const LEDGER = 100;
let server: RunningBroker;
let rest: ReturnType<typeof administrator>;
beforeAll(async () => {
  // Small ledgers; what all groups have read is removed at once.
  server = await startServer({
    managedLedgerMaxEntriesPerLedger: String(LEDGER),
    managedLedgerMinLedgerRolloverTimeMinutes: "0",
    retentionCheckIntervalInSeconds: "1",
    defaultRetentionTimeInMinutes: "0",
    defaultRetentionSizeInMB: "0",
    brokerDeleteInactiveTopicsEnabled: "false",
  });
  rest = administrator({ ...server, options: {} });
}, 180_000);

const names = (count: number, prefix = ""): string[] => Array.from({ length: count }, (_, n) => `${prefix}${n}`);

/** A broadcast reader of a topic that keeps nothing, each message an entry of its own. */
async function reading() {
  const { driver } = await open(pulsar({ ...at(server), batching: "none" }));
  const topic = fresh();
  const full = `persistent://public/default/${topic}`;
  await rest.createTopic(full, 0, soon());
  defer(() => rest.deleteTopic(full, soon()));
  // Until a test says otherwise, a group has everything kept.
  await rest.createSubscription(full, "keeper", "earliest", soon());
  const remove = async (): Promise<void> => {
    await rest.skipAll(full, "keeper", soon());
    await until(async () => (await rest.internalStats(full, soon())).ledgers.length === 1, "all closed ledgers to be removed");
  };
  const publish = async (some: readonly string[]): Promise<void> => void (await store(driver, records(topic, ...some)));
  return { ...(await read(driver, topic, undefined)), publish, remove };
}

describe("a reader, where retention removes what is old,", () => {
  test("misses nothing while it keeps up", async () => {
    const { publish, take, remove, losses } = await reading();
    for (let round = 0; round < 3; round++) {
      await publish(names(2.5 * LEDGER, `${round}-`));
      expect(ids(await take(2.5 * LEDGER))).toEqual(names(2.5 * LEDGER, `${round}-`));
      await remove();
      // To the end of a ledger, which is removed before anything comes behind it.
      await publish(names(LEDGER / 2, `${round}x`));
      expect(ids(await take(LEDGER / 2))).toEqual(names(LEDGER / 2, `${round}x`));
      await remove();
    }
    expect(losses).toEqual([]);
  });

  test("is told what is gone when it falls behind, from where to where, before what comes behind it", async () => {
    const { publish, subscription, remove, losses } = await reading();
    await publish(names(40 * LEDGER));
    // All comes that was asked for, before the rest is removed.
    const got: WireDelivery[] = [...(await subscription.receive(50, 5_000, soon()))];
    await remove();
    await publish(["end"]);
    const toldAt: number[] = [];
    await until(async () => {
      const some = await subscription.receive(50, 1_000, soon());
      while (toldAt.length < losses.length) toldAt.push(got.length);
      got.push(...some);
      return ids(some).includes("end");
    }, "the last message");
    const numbers = got.map(({ id }) => (id === "end" ? 40 * LEDGER : Number(id)));
    const holes = [...numbers.keys()].filter((n) => n > 0 && numbers[n] !== (numbers[n - 1] as number) + 1);
    expect(holes.length).toBeGreaterThan(0);
    const gone = holes.map((n) => {
      const [before, after] = [got[n - 1], got[n]].map((one) => spotOf(one?.place as Place)) as [Spot, Spot];
      const whole = Number.POSITIVE_INFINITY;
      return [placeOf("0", { ...before, index: whole }), placeOf("0", { ...after, entry: after.entry - 1, index: whole })];
    });
    const told = losses.map(({ from, to }) => [from, to]);
    expect(told).toEqual(expect.arrayContaining(gone));
    // What is removed while its last entries are on their way is told as gone at the ledger's end, though it came just in time.
    const early = told.filter((loss) => !gone.some(([from]) => from === loss[0]));
    for (const [from] of early) expect(spotOf(from as Place).ledger).toBeLessThanOrEqual(spotOf(gone[0]?.[0] as Place).ledger);
    expect(early.length).toBeLessThanOrEqual(1);
    for (const [n, [from]] of gone.entries()) {
      const at = toldAt[told.findIndex((loss) => loss[0] === from)];
      expect(at).toBeLessThanOrEqual(holes[n] as number);
    }
  });
});
