import type { Services } from "./services.ts";
import { bounded } from "./waiting.ts";

/** All of them, or none: where one can't be opened, or `take` says why none is wanted any more, those that are open are closed again. */
export async function openAll<T extends { close(): Promise<void> }>(
  opening: readonly Promise<T>[],
  take: (fresh: readonly T[]) => unknown,
): Promise<void> {
  const opened = await Promise.allSettled(opening);
  const fresh = opened.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failure = opened.find((one) => one.status === "rejected");
  const refusal = failure === undefined ? take(fresh) : failure.reason;
  if (refusal === undefined) return;
  await Promise.all(fresh.map((part) => part.close()));
  throw refusal;
}

/** Asks now and then whether a topic has more partitions. A failure, of asking or of `grown`, is tried again the next time. */
export function watchPartitions(
  { lookup, settings }: Services,
  topic: string,
  known: number,
  grown: (partitions: number, signal: AbortSignal) => Promise<void>,
): { stop(): void } {
  const { clock, partitionsMs, answerTimeoutMs } = settings;
  let partitions = known;
  let seen = known;
  let stopped = false;
  const look = async (signal: AbortSignal): Promise<void> => {
    const now = await lookup.partitions(topic, signal);
    if (stopped || now <= partitions) return;
    // Brokers tell the number first and make the groups' subscriptions there then, at the latest message: what came before is nobody's. The next
    // look takes it.
    const told = seen === now;
    seen = now;
    if (!told) return;
    await grown(now, signal);
    partitions = now;
  };
  const again = (): void => {
    if (!stopped)
      timer = clock.timer(
        partitionsMs,
        () =>
          void bounded(clock, answerTimeoutMs, "No answer.", look)
            .catch(() => {})
            .then(again),
      );
  };
  let timer = { cancel: (): void => {} };
  again();
  return {
    stop() {
      stopped = true;
      timer.cancel();
    },
  };
}
