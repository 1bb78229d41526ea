import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import type { Arg, Link, Reply } from "../client.ts";
import { classify, groupMissing, topicMissing, unavailable } from "../errors.ts";
import { MAIN, placeOf, RETRY } from "./mapping.ts";
import { appendRecord } from "./scripts/entry.ts";
import type { TopicKeys } from "./scripts/keys.ts";
import { PUBLISH } from "./scripts/publish.ts";

export interface PublishWiring {
  readonly link: Link;
  readonly keys: (topic: string) => TopicKeys;
  readonly dedupeMs: number;
  /** The caller gave up: the connection must not be used again. */
  readonly abort: (error: Error) => void;
}

/** One stream's records of a call. */
interface Share {
  readonly topic: string;
  readonly group: string;
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
  await Promise.all(shares(batch, wiring.dedupeMs > 0).map((share) => store(wiring, share, results)));
  signal.removeEventListener("abort", onAbort);
  return results;
}

function shares(batch: readonly WireRecord[], dedupe: boolean): Share[] {
  const found = new Map<string, Share>();
  let last: Share | undefined;
  for (const [index, record] of batch.entries()) {
    const { topic, group = "" } = record.target;
    if (last === undefined || last.topic !== topic || last.group !== group) {
      const stream = `${topic}\0${group}`;
      last = found.get(stream) ?? { topic, group, indexes: [], args: [], shapes: "" };
      found.set(stream, last);
    }
    last.indexes.push(index);
    last.shapes += appendRecord(last.args, record, dedupe);
  }
  return [...found.values()];
}

async function store({ link, keys, dedupeMs }: PublishWiring, share: Share, results: PublishResult[]): Promise<void> {
  const { topic, group, indexes } = share;
  const of = keys(topic);
  const inbox = group === "" ? undefined : of.group(group);
  const streams = inbox === undefined ? of.list : [inbox.inbox.stream, of.meta, inbox.inbox.delayed, inbox.wake];
  const fail = (error: unknown, sent: "no" | "maybe"): void => {
    for (const index of indexes) results[index] = { ok: false, error, sent };
  };
  let reply: Reply;
  try {
    reply = await link.script(PUBLISH, streams, [share.shapes, group, String(dedupeMs), ...share.args]);
  } catch (error) {
    // Whatever the server refuses it refuses before the first write; what it says of a script that stopped half-way is no such word.
    return fail(error, link.down === undefined && classify(error).code !== "INTERNAL" ? "no" : "maybe");
  }
  if (reply === null) return fail(group === "" ? topicMissing(topic) : groupMissing(topic, group), "no");
  const ids = (reply as Buffer).toString("latin1").split(" ");
  if (ids.length !== indexes.length) return fail(driverError("INTERNAL", "The server answered for another number of records."), "maybe");
  for (const [n, index] of indexes.entries()) {
    const id = ids[n] as string;
    const duplicate = id.startsWith("=");
    const entry = duplicate ? id.slice(1) : id;
    const place = entry === "" ? undefined : placeOf(group === "" ? MAIN : RETRY, entry);
    results[index] = duplicate ? { ok: true, place, duplicate } : { ok: true, place };
  }
}
