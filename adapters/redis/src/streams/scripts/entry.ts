import type { Place, Shard, WireDelivery, WireHeader, WireRecord } from "brokerkit/driver";
import { type Arg, buffer } from "../../client.ts";
import { placeOf, RETRY, timeOf } from "../mapping.ts";

const NO_HEADERS: readonly WireHeader[] = Object.freeze([]);
const BODIES = ["body", "payload", "data"];
const [B, K, ONE] = Buffer.from("bk1") as unknown as readonly [number, number, number];

/** One delivered entry; `entry`, `deliveries` and `epoch` are what its settlement is checked against. */
export class EntryDelivery implements WireDelivery {
  readonly shard: Shard;
  readonly entry: string;
  readonly leaseUntil: number;
  readonly epoch: number;
  readonly deliveries: number;
  failures: number;
  id: string | undefined = undefined;
  key: Buffer | undefined = undefined;
  headers: readonly WireHeader[] = NO_HEADERS;
  body: Buffer | null = null;
  publishedAt = 0;
  /** Acknowledged or given back; `"asked"` while the server has not answered. */
  settled: "no" | "asked" | "yes" = "no";

  constructor(shard: Shard, entry: string, leaseUntil: number, epoch: number, deliveries: number, failures: number) {
    this.shard = shard;
    this.entry = entry;
    this.leaseUntil = leaseUntil;
    this.epoch = epoch;
    this.deliveries = deliveries;
    this.failures = failures;
  }

  get inbox(): boolean {
    return this.shard.id === RETRY;
  }

  get place(): Place {
    return placeOf(this.shard.id, this.entry);
  }

  /**
   * An entry of ours begins with the field `bk1`: `<published-at ms> <parts> <id>`. The parts that are there follow in this order: 1 body,
   * 2 key, 4 failures; all further fields are headers, whatever their names. Everything else is foreign.
   */
  read(fields: readonly Buffer[]): this {
    const first = fields[0];
    if (first?.length !== 3 || first[0] !== B || first[1] !== K || first[2] !== ONE) return this.#foreign(fields);
    const meta = (fields[1] as Buffer).toString();
    const space = meta.indexOf(" ");
    const parts = meta.charCodeAt(space + 1) - 48;
    this.publishedAt = Number(meta.slice(0, space));
    this.id = meta.slice(space + 3);
    let at = 3;
    const next = (): Buffer => {
      at += 2;
      return fields[at - 2] as Buffer;
    };
    if ((parts & 1) !== 0) this.body = next();
    if ((parts & 2) !== 0) this.key = next();
    // What was noted when it was last given back counts; the first time it is what came with it.
    if ((parts & 4) !== 0) this.failures = Math.max(this.failures, Number(next()));
    if (at < fields.length) this.headers = pairsFrom(fields, at - 1);
    return this;
  }

  /**
   * The body is the field `body`, `payload` or `data`; then `key` is the key and the rest are headers. Without such a field the body is a
   * JSON object of all fields. The id follows from the place.
   */
  #foreign(fields: readonly Buffer[]): this {
    const pairs = pairsFrom(fields, 0);
    const named = pairs.find(([name]) => BODIES.includes(name));
    this.publishedAt = timeOf(this.entry);
    if (named === undefined) {
      this.body = Buffer.from(JSON.stringify(Object.fromEntries(pairs.map(([name, value]) => [name, value.toString()]))));
      return this;
    }
    this.body = named[1];
    this.key = pairs.find(([name]) => name === "key")?.[1];
    this.headers = pairs.filter((pair) => pair !== named && pair[0] !== "key");
    return this;
  }
}

function pairsFrom(fields: readonly Buffer[], start: number): [string, Buffer][] {
  const pairs: [string, Buffer][] = [];
  for (let n = start; n + 1 < fields.length; n += 2) pairs.push([(fields[n] as Buffer).toString(), fields[n + 1] as Buffer]);
  return pairs;
}

/** Appends one record's values as PUBLISH reads them and returns its shape. */
export function appendRecord(args: Arg[], record: WireRecord, dedupe: boolean): string {
  const { id, key, headers, body, publishedAt, delayMs = 0, failures = 0 } = record;
  let shape = (body === null ? 0 : 1) + (key === undefined ? 0 : 2) + (failures > 0 ? 4 : 0);
  args.push(`${publishedAt} ${shape} ${id}`);
  if (body !== null) args.push(buffer(body));
  if (key !== undefined) args.push(buffer(key));
  if (failures > 0) args.push(String(failures));
  if (headers.length > 0) {
    shape += 8;
    args.push(String(headers.length));
    for (const [name, value] of headers) args.push(name, buffer(value));
  }
  if (delayMs > 0) {
    shape += 16;
    args.push(String(Math.ceil(delayMs)));
  }
  if (dedupe) args.push(record.dedupeId);
  return String.fromCharCode(48 + shape);
}
