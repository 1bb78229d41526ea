import type { AdapterFactory } from "./driver/adapter.ts";
import type { Features } from "./driver/capabilities.ts";
import { invalidArgument } from "./errors.ts";
import type { Delivery, Receipt } from "./message.ts";
import type { Start } from "./position.ts";

export type { Features };
export type Feature = keyof Features;
/** The names of the features that are not known to be absent. */
export type FeaturesOf<C extends Features> = { [K in Feature]: C[K] extends false ? never : K }[Feature];

export interface PublishOptions {
  /** Ordering key: messages of one topic with one key are handled in publish order, one at a time. Wins over the topic's key rule. */
  key?: string | undefined;
  /** Default: a new unique id. Give your own to make a retry of yours the same message. */
  id?: string | undefined;
  /** Text headers; names of A–Z a–z 0–9 _ - with single dots between, not beginning with `brokerkit-`. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Deliver not before so many ms from now. `UNSUPPORTED` where the backend has no delayed publish. */
  delayMs?: number | undefined;
  /** Do not deliver later than so many ms from now. `UNSUPPORTED` where the backend has no time to live. */
  ttlMs?: number | undefined;
  /** From 0, higher first. `UNSUPPORTED` where the backend has no priorities. */
  priority?: number | undefined;
  /** How long `publish` may take, retries included, ms. Default 10,000. Then it rejects `TIMEOUT`, `inDoubt` if it may have been stored. */
  timeoutMs?: number | undefined;
  /** Gives up waiting: rejects `ABORTED`, `inDoubt` if it may have been stored. */
  signal?: AbortSignal | undefined;
}

export interface Retry {
  /** Handler runs including the first. Default 5. */
  attempts?: number | undefined;
  /** Pause before attempt n + 1: `initial · factor^(n − 1)` ms, at most `max`. Default 200, ×2, at most 30,000. */
  backoffMs?: { readonly initial: number; readonly factor: number; readonly max: number } | undefined;
  /** `"full"` (default): anywhere between 0 and the pause, so that a crowd spreads. */
  jitter?: "full" | "none" | undefined;
  /** False: no further attempt, dead letter now. */
  retryIf?: ((error: unknown) => boolean) | undefined;
  /** in-place keeps the key's order and blocks only that key; requeue blocks nothing and gives up the order of that message. */
  mode?: "in-place" | "requeue" | undefined;
  /** What happens when in-place retry reaches the backend's holding bound. */
  then?: "dead-letter" | "requeue" | undefined;
}

export interface ConsumeOptions {
  /** Where a new group starts; one that exists keeps its place. */
  from?: Start | undefined;
  /** Handlers at once. Default 1. */
  concurrency?: number | undefined;
  /** Time for one handler run, ms; its signal aborts then and the run counts as failed. Default 300,000. */
  timeoutMs?: number | undefined;
  /** `"key"` (default, or the topic's): one key at a time and in order. `"topic"`: everything in order, here. `"none"`: whatever comes. */
  order?: "key" | "topic" | "none" | undefined;
  /** What happens when a handler fails. */
  retry?: Retry | undefined;
  /** `"keep"` (default for groups): what is given up goes to `<topic>.<group>.dead`. `"drop"`: it is gone, with an event. */
  deadLetter?: "keep" | "drop" | undefined;
  /** Retention passed before this reader had everything. `"fail"` (default): the subscription ends with `DATA_LOSS`. `"skip"`: an event. */
  onDataLoss?: "fail" | "skip" | undefined;
  /** Closes the subscription when it aborts. */
  signal?: AbortSignal | undefined;
}

export type SubscribeOptions = ConsumeOptions & ({ group: string } | { broadcast: true });

export interface BatchOptions extends ConsumeOptions {
  group: string;
  /** Most messages in one batch. */
  max: number;
  /** How long a batch waits to fill once it has its first message. Default 0. */
  waitMs?: number | undefined;
  /**
   * What a batch does whose handler throws or is out of time. `"split"` (default): any of its messages may be the cause, so each goes again
   * by itself and at once; the batch's run counts as an attempt of each, and `retryIf` and the backoff are for what fails alone. `"whole"`:
   * the messages are judged by the one error and go again together.
   */
  onThrow?: "split" | "whole" | undefined;
}

/** Wraps both lines: publish runs after the checks and before the trace, handle after decode around the handler. */
export interface Interceptor {
  publish?(
    record: { topic: string; readonly id: string; payload: unknown; headers: Record<string, string> },
    next: () => Promise<Receipt>,
  ): Promise<Receipt>;
  handle?(message: Delivery<unknown>, next: () => Promise<void>): Promise<void>;
}

export type Logger = Pick<Console, "info" | "warn" | "error">;

export interface Options {
  /** Put before every topic's name on the backend: one cluster, several stages. */
  prefix?: string | undefined;
  /** create: what is missing is made, nothing is altered. verify: what is missing or differs is an error. off: no look at all. */
  provision?: "create" | "verify" | "off" | undefined;
  /** Interceptors around both lines, the first outermost. */
  use?: readonly Interceptor[] | undefined;
  /** Factories to find a URL's adapter in, instead of importing `@brokerkit/<scheme>`. */
  adapters?: readonly AdapterFactory[] | undefined;
  /** Gets what an operator should see: reconnects, losses, dead letters, failed subscriptions. Default: none. */
  logger?: Logger | undefined;
  /** Options for every publish and every subscription of this broker; those given at the call win. */
  defaults?: { publish?: PublishOptions | undefined; consume?: ConsumeOptions | undefined } | undefined;
}

export interface Defaults {
  readonly concurrency: number;
  readonly "retry.attempts": number;
  readonly "retry.backoffMs": { readonly initial: number; readonly factor: number; readonly max: number };
  readonly "retry.jitter": "full" | "none";
  readonly "retry.mode": "in-place" | "requeue";
  readonly "retry.then": "dead-letter" | "requeue";
  readonly order: "key" | "topic" | "none";
  readonly provision: "create" | "verify" | "off";
  readonly "publish.timeoutMs": number;
  readonly "close.deadlineMs": number;
  readonly timeoutMs: number;
  readonly deadLetter: "keep" | "drop";
  readonly onDataLoss: "fail" | "skip";
  readonly from: "latest";
  readonly "batch.waitMs": number;
  readonly "batch.onThrow": "split" | "whole";
}

/** The defaults, as docs/defaults.md lists them (a test ties the two). */
export const DEFAULTS: Defaults = Object.freeze({
  concurrency: 1,
  "retry.attempts": 5,
  "retry.backoffMs": Object.freeze({ initial: 200, factor: 2, max: 30_000 }),
  "retry.jitter": "full",
  "retry.mode": "in-place",
  "retry.then": "dead-letter",
  order: "key",
  provision: "create",
  "publish.timeoutMs": 10_000,
  "close.deadlineMs": 25_000,
  timeoutMs: 300_000,
  deadLetter: "keep",
  onDataLoss: "fail",
  from: "latest",
  "batch.waitMs": 0,
  "batch.onThrow": "split",
});

const TOPIC = /^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9_-])?$/;
const GROUP = /^[A-Za-z0-9_-]{1,100}$/;

/** Throws `INVALID_ARGUMENT` unless `name` can be a topic on every backend. */
export function checkTopicName(name: unknown): asserts name is string {
  if (typeof name === "string" && TOPIC.test(name) && !/\.(retry|dead|shard)$/.test(name) && !name.includes("..")) return;
  const said = typeof name === "string" ? JSON.stringify(name.slice(0, 80)) : typeof name;
  throw invalidArgument(
    "topic",
    `${said} can't be a topic's name: use 1–200 of A–Z a–z 0–9 . _ -, beginning with a letter or digit, without "..", not ending in ".", ".retry", ".dead" or ".shard". Wildcards are not supported.`,
  );
}

/** Throws `INVALID_ARGUMENT` unless `name` can be a group on every backend. No dots, so that `<topic>.<group>` stays injective. */
export function checkGroupName(name: unknown): asserts name is string {
  if (typeof name === "string" && GROUP.test(name)) return;
  const said = typeof name === "string" ? JSON.stringify(name.slice(0, 80)) : String(name);
  throw invalidArgument("group", `${said} can't be a group's name: use 1–100 of A–Z a–z 0–9 _ - (no dots).`);
}

/** Throws `INVALID_ARGUMENT` for keys that `known` does not list: a misspelt option must not be ignored. */
export function checkKeys(where: string, value: object, known: readonly string[]): void {
  if (value === null || typeof value !== "object") throw invalidArgument(where, `${where}: options must be an object.`);
  for (const key of Object.keys(value)) {
    if (!known.includes(key)) {
      throw invalidArgument(key, `${where}: there is no option "${key}". Known: ${known.join(", ")}.`);
    }
  }
}

/** Throws `INVALID_ARGUMENT` unless `value` is undefined or a finite number of at least `min`. */
export function checkNumber(name: string, value: unknown, min: number, whole = false): void {
  if (value === undefined) return;
  if (typeof value === "number" && Number.isFinite(value) && value >= min && (!whole || Number.isInteger(value))) return;
  throw invalidArgument(name, `${name} must be a ${whole ? "whole " : ""}number from ${min}, got ${shown(value)}.`);
}

/** Throws `INVALID_ARGUMENT` unless `value` is undefined or one of `choices`. */
export function checkChoice(name: string, value: unknown, choices: readonly string[]): void {
  if (value === undefined || choices.includes(value as string)) return;
  throw invalidArgument(name, `${name} must be ${choices.map((choice) => `"${choice}"`).join(" or ")}, got ${shown(value)}.`);
}

/** A wrong value in an error's text: strings in quotes, since an environment's "4" is no 4. */
function shown(value: unknown): string {
  return typeof value === "string" ? `the string ${JSON.stringify(value.slice(0, 40))}` : String(value).slice(0, 40);
}
