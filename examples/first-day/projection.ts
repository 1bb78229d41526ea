// (g) A projection: rebuilt from the beginning, then live without a gap, while orders keep coming in.
import { setTimeout as pass } from "node:timers/promises";
import { type Broker, connect } from "brokerkit";
import { orders, prefix } from "./contracts.ts";

const BEFORE = 300;
const MEANWHILE = 200;

/** Orders per customer: once by a replay that follows on, once by a bounded replay and a group that joins where it ended. */
export async function rebuild(
  broker: Broker<"replay" | "groups">,
  all: number,
): Promise<{ live: number; caughtUpAt: number; replayed: number; joined: number; twice: number; gap: number }> {
  const topic = broker.topic(orders);

  const following = topic.replay({ from: "earliest", follow: true });
  let live = 0;
  let caughtUpAt = -1;
  const caughtUp = following.caughtUp.then(
    () => {
      caughtUpAt = live;
    },
    () => {}, // the loop was left before
  );
  const followed = (async () => {
    for await (const { payload } of following) {
      if (payload.id >= 0 && ++live === all) break;
    }
  })();

  const bounded = topic.replay({ from: "earliest" });
  const seen: number[] = [];
  for await (const { payload } of bounded) seen.push(payload.id);
  const replayed = seen.length;
  const complete = Promise.withResolvers<void>();
  const check = (): void => {
    if (new Set(seen).size === all) complete.resolve();
  };
  await topic.subscribe({ group: "projection", from: await bounded.end }, (message) => {
    seen.push(message.payload.id);
    check();
  });
  check(); // the replay may have been all there is
  await Promise.all([followed, caughtUp, complete.promise]);
  const unique = new Set(seen).size;
  return { live, caughtUpAt, replayed, joined: seen.length - replayed, twice: seen.length - unique, gap: all - unique };
}

if (import.meta.main) {
  const broker = await connect(process.env["BROKER_URL"] ?? "memory:", { requires: ["replay", "groups"], prefix });
  await broker.provision([orders]);
  const topic = broker.topic(orders);
  const order = (id: number) => ({ id, customer: `customer-${id % 20}`, at: id });
  await topic.publishAll(Array.from({ length: BEFORE }, (_, id) => ({ payload: order(id) })));
  const publishing = (async () => {
    for (let id = BEFORE; id < BEFORE + MEANWHILE; id++) {
      await topic.publish(order(id));
      if (id % 10 === 0) await pass(1);
    }
  })();
  const result = await rebuild(broker, BEFORE + MEANWHILE);
  await publishing;
  await broker.close();
  console.log(JSON.stringify(result));
}
