import { check, hashOf, openHistory, readHistory } from "@brokerkit/conformance/checker";
import type { Delivery, Subscription, Topic } from "brokerkit";
import type { Verified } from "../measure/column.ts";
import { Messages } from "../measure/messages.ts";
import { windowed } from "../measure/window.ts";
import type { SdkWiring } from "./wiring.ts";

const KEYS = 16;
const WINDOW = 256;
const PATIENCE_MS = 10_000;

const digest = (payload: unknown): string => hashOf(payload instanceof Uint8Array ? payload : JSON.stringify(payload));

/** One run that writes its history and is judged by the checker: the same calls as in the measured rounds, with keys. */
export async function verifySdk(
  wiring: SdkWiring & { readonly topic: Topic; readonly group: string },
  historyFolder: string,
  count: number,
): Promise<Verified> {
  const { topic, style, live, workload, broker } = wiring;
  const history = openHistory(historyFolder, "client");
  const group = live ? history.process : wiring.group;
  const messages = new Messages({ size: workload.size, keys: KEYS });
  const all = Promise.withResolvers<void>();
  let received = 0;
  let runs = 0;

  const took = (message: Delivery<unknown>, run: number): void => {
    const { id, key, payload, place: position } = message;
    const common = { topic: topic.name, group, id, run };
    history.record([
      { type: "ok", f: "receive", ...common, key, hash: digest(payload), position },
      { type: "ok", f: "done", ...common },
    ]);
    if (++received >= count) all.resolve();
  };

  const publishOne = async (index: number): Promise<void> => {
    const id = `m-${index}`;
    const key = messages.key(index) as string;
    const about = { f: "publish", topic: topic.name, id } as const;
    const payload = style.payload(messages, index);
    history.record({ type: "invoke", ...about, key, seq: Math.floor(index / KEYS), hash: digest(payload) });
    try {
      const { place } = await topic.publish(payload, { id, key });
      history.record({ type: "ok", ...about, position: place });
    } catch (error) {
      history.record({ type: "info", ...about });
      throw error;
    }
  };

  const subscribe = (): Promise<Subscription> => {
    const { concurrency, batch: max } = workload;
    if (live) return topic.subscribe({ broadcast: true, concurrency }, (message) => took(message, runs++));
    if (!style.batch) return topic.subscribe({ group, concurrency }, (message) => took(message, runs++));
    return topic.subscribeBatches({ group, concurrency, max }, (batch) => {
      const run = runs++;
      for (const message of batch) took(message, run);
    });
  };

  const subscription = await subscribe();
  subscription.closed.catch(all.reject);
  await windowed(0, count, WINDOW, 1, publishOne);
  const patience = setTimeout(() => all.resolve(), PATIENCE_MS);
  await all.promise;
  clearTimeout(patience);
  await subscription.close();
  history.close();
  const verdict = check(readHistory(historyFolder), {
    order: broker.capabilities.keyOrder,
    atLeastOnce: true,
    acks: live ? "none" : "implied",
    ackSettleMs: 1_000,
    groups: [{ topic: topic.name, group }],
  });
  const [judged] = verdict.groups;
  return {
    published: verdict.published.acknowledged,
    received: judged?.received ?? 0,
    lost: judged?.lost.count ?? 0,
    duplicates: judged?.duplicates.count ?? 0,
    reasons: verdict.reasons,
  };
}
