import type { Claims, HistoryEvent, HistoryRecord } from "../src/checker/index.ts";

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let z = state;
    z = Math.imul(z ^ (z >>> 15), z | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface Stored {
  readonly id: string;
  readonly key: string;
  readonly hash: string;
  readonly position: string;
}

/** One group's reader of one shard: what it has received beyond `acked` is outstanding. */
interface Reader {
  readonly group: string;
  readonly shard: number;
  owner: string;
  next: number;
  acked: number;
  handling: boolean;
}

export interface Simulation {
  readonly seed: number;
  readonly messages?: number;
  readonly settle?: "each" | "prefix";
}

export const topic = "orders";
export const groups: readonly string[] = ["billing", "audit"];

/**
 * A correct run of a log with three shards, two producers and two groups of two workers: some handlers fail and are retried in place, one worker
 * is killed and replaced, the broker is killed and restarted with publishes in doubt, and at the end everything is drained.
 */
export function simulate({ seed, messages = 600, settle = "each" }: Simulation): {
  readonly events: HistoryEvent[];
  readonly claims: Claims;
} {
  const random = randomFrom(seed);
  const pick = (n: number): number => Math.floor(random() * n);
  const events: HistoryEvent[] = [];
  const counts = new Map<string, number>();
  let t = 1_700_000_000_000;
  const write = (process: string, event: HistoryRecord): void => {
    t += 0.6 + random() * 3;
    const i = counts.get(process) ?? 0;
    counts.set(process, i + 1);
    events.push({ i, t, process, ...event });
  };

  const shards: Stored[][] = [[], [], []];
  const readers: Reader[] = groups.flatMap((group) =>
    shards.map((_, shard) => ({ group, shard, owner: `${group}-${shard % 2}`, next: 0, acked: 0, handling: false })),
  );

  const producers = ["web", "import"].map((process) => ({
    process,
    seqs: new Map<string, number>(),
    open: undefined as Stored | undefined,
  }));
  let published = 0;
  const publish = (producer: (typeof producers)[number]): void => {
    const { process, seqs, open } = producer;
    if (open !== undefined) {
      write(process, { type: "ok", f: "publish", topic, id: open.id, position: open.position });
      producer.open = undefined;
      return;
    }
    if (published === messages) return;
    const number = published++;
    const shard = pick(3);
    const key = `k${shard}-${pick(5)}`;
    const seq = (seqs.get(key) ?? 0) + 1;
    seqs.set(key, seq);
    const log = shards[shard] ?? [];
    const stored = { id: `m${number}`, key, hash: `h${number}`, position: `${shard}:${log.length * 7}` };
    write(process, { type: "invoke", f: "publish", topic, key, id: stored.id, seq, hash: stored.hash });
    log.push(stored);
    producer.open = stored;
  };

  const work = (reader: Reader): void => {
    const { group, owner } = reader;
    const message = shards[reader.shard]?.[reader.next];
    if (reader.handling && message !== undefined) {
      const ok = random() > 0.03;
      write(owner, { type: ok ? "ok" : "fail", f: "done", topic, group, id: message.id });
      reader.handling = false;
      if (ok) reader.next++;
    } else if (reader.acked < reader.next && (message === undefined || random() < 0.3)) {
      const done = shards[reader.shard]?.[reader.acked];
      if (done === undefined) throw new Error("acknowledging beyond the log");
      write(owner, { type: "invoke", f: "ack", topic, group, id: done.id });
      write(owner, { type: "ok", f: "ack", topic, group, id: done.id });
      reader.acked++;
    } else if (message !== undefined) {
      const { id, key, hash, position } = message;
      write(owner, { type: "ok", f: "receive", topic, group, key, id, hash, position });
      reader.handling = true;
    }
  };
  const resume = (reader: Reader): void => {
    reader.next = reader.acked;
    reader.handling = false;
  };

  const killWorker = (): void => {
    const victim = "billing-0";
    write("nemesis", { type: "info", f: "crash", unit: "process", target: victim });
    for (const reader of readers.filter(({ owner }) => owner === victim)) {
      reader.owner = "billing-2";
      resume(reader);
    }
  };
  const restartBroker = (): void => {
    write("nemesis", { type: "info", f: "crash", unit: "broker" });
    for (const producer of producers) {
      if (producer.open === undefined) continue;
      write(producer.process, { type: "info", f: "publish", topic, id: producer.open.id });
      producer.open = undefined;
    }
    for (const reader of readers) {
      const running = reader.handling ? shards[reader.shard]?.[reader.next] : undefined;
      // A handler that runs when the broker goes away still ends, and its message comes again.
      if (running !== undefined) write(reader.owner, { type: "ok", f: "done", topic, group: reader.group, id: running.id });
      resume(reader);
    }
    t += 200;
    write("nemesis", { type: "ok", f: "crash", unit: "broker" });
  };

  const faults = new Map([
    [Math.floor(messages * 0.4), killWorker],
    [Math.floor(messages * 0.7), restartBroker],
  ]);
  const drained = (): boolean =>
    published === messages &&
    producers.every(({ open }) => open === undefined) &&
    readers.every(({ shard, acked }) => acked === shards[shard]?.length);
  while (!drained()) {
    const fault = faults.get(published);
    faults.delete(published);
    fault?.();
    const choice = pick(producers.length + readers.length);
    const producer = producers[choice];
    if (producer !== undefined) publish(producer);
    else work(readers[choice - producers.length] ?? (readers[0] as Reader));
  }
  return {
    events,
    claims: {
      order: "members",
      atLeastOnce: true,
      settle,
      duplicates: "each",
      stallMs: 5_000,
      recoveryMs: 5_000,
      groups: groups.map((group) => ({ topic, group })),
    },
  };
}
