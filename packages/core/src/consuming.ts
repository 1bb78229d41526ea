import { effectiveCapabilities } from "./capability/effective.ts";
import { unsupported } from "./capability/unsupported.ts";
import { checkConsumeOptions } from "./checks.ts";
import type { Consumption } from "./consumption.ts";
import type { BoundTopic } from "./definition.ts";
import { BrokerError, invalidArgument } from "./errors.ts";
import { type BatchOptions, type ConsumeOptions, checkChoice, checkGroupName, checkNumber, DEFAULTS, type Feature } from "./options.ts";
import { RetryPolicy } from "./retry/policy.ts";
import { wireStart } from "./start.ts";

type GroupOptions = ConsumeOptions & { group?: string | undefined; broadcast?: boolean | undefined };

const BATCH = ["max", "waitMs", "onThrow"] as const;

/** Throws `INVALID_ARGUMENT` unless the options of a subscribing verb are an object: a text would be taken apart letter by letter. */
export function checkGiven(verb: string, o: unknown): void {
  if (typeof o === "object" && o !== null) return;
  const said = typeof o === "string" ? "a text" : o === null ? "null" : typeof o;
  throw invalidArgument("options", `${verb} takes its options first, such as { group: "name" }, and was given ${said}.`);
}

/** Throws `INVALID_ARGUMENT` unless the second argument of a subscribing verb is a function. */
export function checkHandler(verb: string, handler: unknown): void {
  if (typeof handler === "function") return;
  throw invalidArgument("handler", `${verb} takes a handler function as its second argument, after the options.`);
}

/** Options of any subscribing verb, without asking the backend. Throws `INVALID_ARGUMENT`. */
export function checkConsume(verb: string, o: GroupOptions, batch: BatchOptions | undefined): void {
  checkGiven(verb, o);
  checkConsumeOptions(verb, o, ["group", "broadcast", ...(batch === undefined ? [] : BATCH)]);
  checkWho(verb, o);
  if (batch === undefined) return;
  if (batch.max === undefined) throw invalidArgument("max", `${verb}: say how many messages a batch holds at most: { max: 100 }.`);
  checkNumber("max", batch.max, 1, true);
  checkNumber("waitMs", batch.waitMs, 0);
  checkChoice("onThrow", batch.onThrow, ["split", "whole"]);
}

/** Group or broadcast is said, never implied: an unset variable must not turn a queue into a broadcast. */
function checkWho(verb: string, o: GroupOptions): void {
  const grouped = "group" in o;
  if (grouped && "broadcast" in o) throw invalidArgument("group", `${verb}: group and broadcast exclude each other; give one of them.`);
  if (grouped) return checkGroupName(o.group);
  if (o.broadcast !== true || verb !== "subscribe") {
    throw invalidArgument(
      "group",
      `${verb}: say who reads: { group: "name" } shares the messages among its members${verb === "subscribe" ? ", { broadcast: true } gives this subscriber all of them" : ""}.`,
    );
  }
}

/** Throws `UNSUPPORTED` for an order of the whole topic where it has several shards, each with an order of its own. */
export function checkOneShard(order: "key" | "topic" | "none", topic: Pick<BoundTopic, "name" | "capabilities">, adapter: string): void {
  const { partitions } = topic.capabilities.topics;
  if (order !== "topic" || partitions <= 1) return;
  const text = `[${adapter}] Topic "${topic.name}" can have ${partitions} shards, each with an order of its own, so order: "topic" can't be kept. Create it with one (defineTopic("…", { order: "topic" }) does), or give what must stay in order one key.`;
  throw new BrokerError("UNSUPPORTED", text, { details: { capability: "order.topic", supportedBy: [] }, adapter, topic: topic.name });
}

/** Throws `UNSUPPORTED` for a group where the application requires key order between members and this topic, having no partitions, has none. */
export function checkPromised(
  topic: Pick<BoundTopic, "name" | "order" | "capabilities">,
  requires: readonly Feature[],
  o: GroupOptions,
  adapter: string,
): void {
  if (o.group === undefined || !requires.includes("keyOrder") || topic.capabilities.keyOrder === "members") return;
  if ((o.order ?? topic.order) === "none") return;
  const text = `[${adapter}] Topic "${topic.name}" keeps the order of keys only within one process, and keyOrder is required. Create it with partitions: defineTopic("${topic.name}", { partitions: 8 }). One that exists without is not changed: take another name, or delete it first.`;
  throw new BrokerError("UNSUPPORTED", text, { details: { capability: "keyOrder", supportedBy: [] }, adapter, topic: topic.name });
}

/** The options with their defaults, checked against what this topic can do. Throws `UNSUPPORTED` before anything is sent. */
export function consumption(
  topic: BoundTopic,
  adapter: string,
  o: GroupOptions,
  batch: BatchOptions | undefined,
  manual: boolean,
  handler: Consumption["handler"],
): Consumption {
  const { capabilities } = topic;
  const { group } = o;
  if (group === undefined && capabilities.delivery.broadcast === "none") throw unsupported("broadcast", adapter, topic.name);
  if (group !== undefined && capabilities.delivery.group === "none") throw unsupported("groups", adapter, topic.name);
  const order = o.order ?? topic.order;
  checkOneShard(order, topic, adapter);
  const retry = o.retry ?? {};
  if (
    (retry.mode === "requeue" || retry.then === "requeue") &&
    (group === undefined || effectiveCapabilities(capabilities).supply.requeue === "none")
  ) {
    throw unsupported("requeue", adapter, topic.name);
  }
  if (group === undefined && o.deadLetter === "keep") throw unsupported("deadLetter", adapter, topic.name);
  return {
    topic,
    group,
    from: wireStart(o.from ?? DEFAULTS.from, group === undefined ? "broadcast" : "group", adapter, topic),
    // A stream is paced by whoever pulls it.
    concurrency: o.concurrency ?? (manual ? Number.POSITIVE_INFINITY : DEFAULTS.concurrency),
    timeoutMs: o.timeoutMs ?? DEFAULTS.timeoutMs,
    order,
    retry: new RetryPolicy(retry, capabilities.hold),
    deadLetter: o.deadLetter ?? DEFAULTS.deadLetter,
    onDataLoss: o.onDataLoss ?? DEFAULTS.onDataLoss,
    batch:
      batch === undefined
        ? undefined
        : { max: batch.max, waitMs: batch.waitMs ?? DEFAULTS["batch.waitMs"], onThrow: batch.onThrow ?? DEFAULTS["batch.onThrow"] },
    manual,
    handler,
  };
}
