import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import type { Arg, Link } from "./client.ts";
import { classify, groupMissing, topicMissing, unavailable } from "./errors.ts";
import { appendRecord, MAIN, placeOf, RETRY, type TopicKeys } from "./mapping.ts";
import { PUBLISH } from "./scripts/publish.ts";

export interface PublishWiring {
  readonly link: Link;
  readonly keys: (topic: string) => TopicKeys;
  readonly dedupeMs: number;
  /** The caller gave up: the connection must not be used again. */
  readonly abort: (error: Error) => void;
}

interface Share {
  readonly record: WireRecord;
  readonly indexes: number[];
  readonly args: Arg[];
  shapes: string;
}

/**
 * One script per stream: all of a stream's records are stored in order, or none. Scripts of several calls may be under way; the server
 * runs them in the order in which they were sent.
 */
export async function publish(wiring: PublishWiring, batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  const results: PublishResult[] = new Array(batch.length);
  const onAbort = (): void => wiring.abort(unavailable("The publish was aborted while the server had not answered.", signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  await Promise.all([...shares(batch, wiring.dedupeMs > 0).values()].map((share) => store(wiring, share, results)));
  signal.removeEventListener("abort", onAbort);
  return results;
}

function shares(batch: readonly WireRecord[], dedupe: boolean): Map<string, Share> {
  const found = new Map<string, Share>();
  let last: Share | undefined;
  for (const [index, record] of batch.entries()) {
    const { topic, group = "" } = record.target;
    if (last === undefined || last.record.target.topic !== topic || (last.record.target.group ?? "") !== group) {
      const stream = `${topic}\0${group}`;
      last = found.get(stream) ?? { record, indexes: [], args: [], shapes: "" };
      found.set(stream, last);
    }
    last.indexes.push(index);
    last.shapes += appendRecord(last.args, record, dedupe);
  }
  return found;
}

async function store(wiring: PublishWiring, share: Share, results: PublishResult[]): Promise<void> {
  const { topic, group = "" } = share.record.target;
  const keys = wiring.keys(topic);
  const stream = group === "" ? keys.stream : keys.inbox(group);
  const streams = [stream, keys.meta, `${stream}:delayed`, group === "" ? keys.wake : keys.groupWake(group)];
  const fail = (error: unknown, sent: "no" | "maybe"): void => {
    for (const index of share.indexes) results[index] = { ok: false, error, sent };
  };
  let reply: unknown;
  try {
    reply = await wiring.link.script(PUBLISH, streams, [share.shapes, group, String(wiring.dedupeMs), ...share.args]);
  } catch (error) {
    // Whatever the server refuses it refuses before the first write; what it says of a script that stopped half-way is no such word.
    const refused = wiring.link.down === undefined && classify(error).code !== "INTERNAL";
    return fail(error, refused ? "no" : "maybe");
  }
  if (reply === null) return fail(group === "" ? topicMissing(topic) : groupMissing(topic, group), "no");
  const ids = (reply as Buffer).toString("latin1").split(" ");
  if (ids.length !== share.indexes.length)
    return fail(driverError("INTERNAL", "The server answered for another number of records."), "maybe");
  const shard = group === "" ? MAIN : RETRY;
  for (let n = 0; n < ids.length; n++) {
    const id = ids[n] as string;
    const duplicate = id.startsWith("=");
    const entry = duplicate ? id.slice(1) : id;
    const place = entry === "" ? undefined : placeOf(shard, entry);
    results[share.indexes[n] as number] = duplicate ? { ok: true, place, duplicate } : { ok: true, place };
  }
}
