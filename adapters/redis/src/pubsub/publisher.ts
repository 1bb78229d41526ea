import type { PublishResult, WireRecord } from "brokerkit/driver";
import type { Link } from "../client.ts";
import { classify, unavailable } from "../errors.ts";
import { encodeRecords, MAGIC, plainBody, sizeOf } from "./mapping.ts";
import { PUBLISH_FRAME } from "./scripts/publish.ts";

/** A frame is closed when it has reached this size: large enough to be cheap, small enough for everybody's buffers. */
const FRAME_BYTES = 262_144;

export interface PublishWiring {
  readonly link: Link;
  readonly prefix: string;
  readonly plain: boolean;
  /** The caller gave up: the connection must not be used again. */
  readonly abort: (error: Error) => void;
}

/** What one command publishes: a frame of several records of one channel, or one bare body. */
interface Unit {
  readonly channel: string;
  readonly records: WireRecord[];
  readonly indexes: number[];
  bytes: number;
}

/** Resolves when the server has processed everything. Who has received it nobody can say. */
export async function publish(wiring: PublishWiring, batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  const results: PublishResult[] = new Array(batch.length);
  const onAbort = (): void => wiring.abort(unavailable("The publish was aborted while the server had not answered.", signal.reason));
  signal.addEventListener("abort", onAbort, { once: true });
  await Promise.all(units(wiring, batch).map((unit) => send(wiring, unit, results)));
  signal.removeEventListener("abort", onAbort);
  return results;
}

/** Records of one channel stay in order: they go into its frames in order, and the frames leave in order. */
function units({ prefix, plain }: PublishWiring, batch: readonly WireRecord[]): Unit[] {
  const all: Unit[] = [];
  const open = new Map<string, Unit>();
  for (const [index, record] of batch.entries()) {
    const channel = prefix + record.target.topic;
    const bytes = plain ? 0 : sizeOf(record);
    let unit = open.get(channel);
    if (unit === undefined || plain || unit.bytes + bytes > FRAME_BYTES) {
      unit = { channel, records: [], indexes: [], bytes: 0 };
      open.set(channel, unit);
      all.push(unit);
    }
    unit.records.push(record);
    unit.indexes.push(index);
    unit.bytes += bytes;
  }
  return all;
}

async function send({ link, plain }: PublishWiring, unit: Unit, results: PublishResult[]): Promise<void> {
  const { channel, records, indexes, bytes } = unit;
  let result: PublishResult = { ok: true };
  try {
    if (plain) await link.call(["PUBLISH", channel, plainBody(records[0] as WireRecord)]);
    else await link.script(PUBLISH_FRAME, [counterKey(channel)], [channel, String(records.length), MAGIC, encodeRecords(records, bytes)]);
  } catch (error) {
    const refused = link.down === undefined && classify(error).code !== "INTERNAL";
    result = { ok: false, error, sent: refused ? "no" : "maybe" };
  }
  for (const index of indexes) results[index] = result;
}

/** Where the server counts what was published to a channel. */
export function counterKey(channel: string): string {
  return `${channel}:count`;
}
