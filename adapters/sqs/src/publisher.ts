import { driverError, type PublishResult, type WireRecord } from "brokerkit/driver";
import type { Place, SqsAdmin } from "./admin.ts";
import type { Aws } from "./client.ts";
import { classify, sentOf, serviceError, topicMissing } from "./errors.ts";
import { askQueue, publishBatch } from "./protocol/calls.ts";
import { newCall } from "./protocol/http.ts";
import { entriesFor, REQUEST_BYTES, type Request, requests } from "./protocol/requests.ts";

export interface PublishWiring {
  readonly aws: Aws;
  readonly admin: SqsAdmin;
  readonly fifo: boolean;
  readonly now: () => number;
}

type Results = PublishResult[];

/** Requests of ten records for one target each, side by side. */
export async function publish(wiring: PublishWiring, batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  const results: Results = new Array(batch.length);
  const targets = new Map<string, number[]>();
  for (let n = 0; n < batch.length; n++) {
    const { topic, group = "" } = (batch[n] as WireRecord).target;
    const target = `${topic}\0${group}`;
    const indexes = targets.get(target);
    if (indexes === undefined) targets.set(target, [n]);
    else indexes.push(n);
  }
  await Promise.all([...targets.values()].map((indexes) => store(wiring, batch, indexes, results, signal)));
  return results;
}

async function store(
  wiring: PublishWiring,
  batch: readonly WireRecord[],
  indexes: readonly number[],
  results: Results,
  signal: AbortSignal,
): Promise<void> {
  const { admin, now } = wiring;
  const { topic, group } = (batch[indexes[0] as number] as WireRecord).target;
  let place: Place;
  try {
    place = admin.known(topic, group) ?? (await admin.find(topic, group, signal));
  } catch (error) {
    for (const index of indexes) results[index] = { ok: false, error, sent: "no" };
    return;
  }
  const { kind } = place;
  const filled = requests(batch, indexes, kind, now(), (index, bytes) => {
    const text = `The message has ${bytes} bytes as the service counts them, more than the ${REQUEST_BYTES[kind]} that it takes.`;
    results[index] = { ok: false, error: driverError("TOO_LARGE", text), sent: "no" };
  });
  await Promise.all(filled.map((request) => send(wiring, batch, request, place, results, signal)));
}

async function send(
  { aws, admin, fifo }: PublishWiring,
  batch: readonly WireRecord[],
  request: Request,
  place: Place,
  results: Results,
  signal: AbortSignal,
): Promise<void> {
  const { indexes } = request;
  const call = newCall(signal);
  try {
    const { Failed = [], Successful = [] } =
      place.kind === "topic"
        ? await publishBatch(aws.topics, place.arn, entriesFor("topic", batch, request, fifo), call)
        : await askQueue(aws.queues, "SendMessageBatch", { QueueUrl: place.url, Entries: entriesFor("queue", batch, request, fifo) }, call);
    for (const { Id } of Successful) results[indexes[Number(Id)] as number] = { ok: true };
    for (const { Id, Code, Message, SenderFault } of Failed) {
      const error = serviceError(Code, Message);
      results[indexes[Number(Id)] as number] = { ok: false, error, sent: SenderFault === true ? "no" : sentOf(error, true) };
    }
    for (const index of indexes) {
      results[index] ??= { ok: false, error: driverError("INTERNAL", "The server did not answer for this record."), sent: "maybe" };
    }
  } catch (error) {
    const { topic, group } = (batch[indexes[0] as number] as WireRecord).target;
    const missing = classify(error).code === "NOT_FOUND";
    if (missing) admin.forget(topic, group);
    const raw = missing && group === undefined ? topicMissing(topic) : error;
    for (const index of indexes) results[index] = { ok: false, error: raw, sent: sentOf(error, call.left) };
  }
}
