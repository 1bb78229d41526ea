import type { AdapterFactory } from "./driver/adapter.ts";
import { invalidArgument } from "./errors.ts";
import {
  type ConsumeOptions,
  checkChoice,
  checkKeys,
  checkNumber,
  type Feature,
  type Interceptor,
  type Options,
  type PublishOptions,
  type Retry,
} from "./options.ts";
import { parsePosition, type Start } from "./position.ts";

// Every known key of an options type, once: the type refuses a missing one and a wrong one.
function keysOf<T>(keys: Record<keyof T, true>): readonly string[] {
  return Object.freeze(Object.keys(keys));
}

/** Every option of a broker. */
export const BROKER_OPTIONS: readonly string[] = keysOf<Options>({
  prefix: true,
  provision: true,
  use: true,
  adapters: true,
  logger: true,
  defaults: true,
});
const PUBLISH = keysOf<PublishOptions>({
  key: true,
  id: true,
  headers: true,
  delayMs: true,
  ttlMs: true,
  priority: true,
  timeoutMs: true,
  signal: true,
});
const CONSUME = keysOf<ConsumeOptions>({
  from: true,
  concurrency: true,
  timeoutMs: true,
  order: true,
  retry: true,
  deadLetter: true,
  onDataLoss: true,
  signal: true,
});
// biome-ignore lint/suspicious/noThenProperty: the name of an option, in an object that is never awaited
const RETRY = keysOf<Retry>({ attempts: true, backoffMs: true, jitter: true, retryIf: true, mode: true, then: true });
const BACKOFF = keysOf<NonNullable<Retry["backoffMs"]>>({ initial: true, factor: true, max: true });
const INTERCEPTOR = keysOf<Interceptor>({ publish: true, handle: true });

const PREFIX = /^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/;

/** Throws `INVALID_ARGUMENT` for a broker's options that are unknown or wrong, nested ones included. */
export function checkOptions(where: string, options: Options & { requires?: unknown }): void {
  checkKeys(where, options, [...BROKER_OPTIONS, "requires"]);
  checkPrefix(options.prefix);
  checkChoice("provision", options.provision, ["create", "verify", "off"]);
  for (const interceptor of list("use", options.use)) checkInterceptor(interceptor);
  for (const factory of list("adapters", options.adapters)) checkFactory(factory);
  checkLogger(options.logger);
  if (options.defaults === undefined) return;
  checkKeys("defaults", options.defaults, ["publish", "consume"]);
  if (options.defaults.publish !== undefined) {
    checkPublishOptions("defaults.publish", options.defaults.publish);
    if (options.defaults.publish.id !== undefined) {
      throw invalidArgument("id", "defaults.publish: an id can't be a default: every message would be the same one.");
    }
  }
  if (options.defaults.consume !== undefined) checkConsumeOptions("defaults.consume", options.defaults.consume);
}

/** Throws `INVALID_ARGUMENT` unless `requires` is a list of features. */
export function checkRequires(requires: unknown, known: readonly string[]): asserts requires is readonly Feature[] | undefined {
  if (requires === undefined) return;
  if (!Array.isArray(requires)) throw invalidArgument("requires", `requires must be an array of features: ${known.join(", ")}.`);
  for (const feature of requires) {
    if (!known.includes(feature as string)) {
      throw invalidArgument("requires", `requires: there is no feature "${String(feature).slice(0, 40)}". Known: ${known.join(", ")}.`);
    }
  }
}

/** Throws `INVALID_ARGUMENT` for unknown or wrong options of one publish. `more`: further keys that are allowed. */
export function checkPublishOptions(where: string, options: PublishOptions, more: readonly string[] = []): void {
  checkKeys(where, options, more.length === 0 ? PUBLISH : [...PUBLISH, ...more]);
  checkText("key", options.key);
  checkText("id", options.id);
  checkNumber("delayMs", options.delayMs, 0);
  checkNumber("ttlMs", options.ttlMs, 1);
  checkNumber("priority", options.priority, 0, true);
  checkNumber("timeoutMs", options.timeoutMs, 1);
  checkSignal(options.signal);
}

/** Throws `INVALID_ARGUMENT` for unknown or wrong options of a subscription. `more`: further keys that are allowed, such as `group`. */
export function checkConsumeOptions(where: string, options: ConsumeOptions, more: readonly string[] = []): void {
  checkKeys(where, options, [...CONSUME, ...more]);
  checkStart("from", options.from);
  checkNumber("concurrency", options.concurrency, 1, true);
  checkNumber("timeoutMs", options.timeoutMs, 1);
  checkChoice("order", options.order, ["key", "topic", "none"]);
  checkChoice("deadLetter", options.deadLetter, ["keep", "drop"]);
  checkChoice("onDataLoss", options.onDataLoss, ["fail", "skip"]);
  checkSignal(options.signal);
  if (options.retry !== undefined) checkRetry(options.retry);
}

/** Throws `INVALID_ARGUMENT` unless `start` is undefined or a place to start from; names the option as `argument`. */
export function checkStart(argument: string, start: unknown): void {
  if (start === undefined || start === "latest" || start === "earliest") return;
  if (start instanceof Date) {
    if (Number.isFinite(start.getTime())) return;
    throw invalidArgument(argument, `${argument} is an invalid Date.`);
  }
  if (typeof start !== "string") {
    throw invalidArgument(
      argument,
      `${argument} must be "latest", "earliest", a Date or a position, got ${start === null ? "null" : typeof start}.`,
    );
  }
  try {
    parsePosition(start);
  } catch {
    throw invalidArgument(
      argument,
      `${argument} must be "latest", "earliest", a Date or a position, as replay.position(), replay.end or group.position() gave it, got ${JSON.stringify(start.slice(0, 40))}.`,
    );
  }
}

/** Throws `INVALID_ARGUMENT` for unknown or wrong options of a replay, without asking the backend. */
export function checkReplayOptions(options: { from: Start; to?: unknown; follow?: unknown; key?: unknown; signal?: unknown }): void {
  checkKeys("replay", options, ["from", "to", "follow", "key", "signal"]);
  if (options.from === undefined) throw invalidArgument("from", 'replay: say where to begin: from "earliest", a Date or a position.');
  checkStart("from", options.from);
  checkStart("to", options.to);
  checkText("key", options.key);
  checkSignal(options.signal);
  if (options.follow === undefined || options.follow === false) return;
  if (options.follow !== true) throw invalidArgument("follow", `replay: follow must be true or false, got ${typeof options.follow}.`);
  if (options.to !== undefined) throw invalidArgument("to", "replay: follow goes on without end, so it can't have a `to`.");
}

function checkRetry(retry: Retry): void {
  checkKeys("retry", retry, RETRY);
  checkNumber("retry.attempts", retry.attempts, 1, true);
  checkChoice("retry.jitter", retry.jitter, ["full", "none"]);
  checkChoice("retry.mode", retry.mode, ["in-place", "requeue"]);
  checkChoice("retry.then", retry.then, ["dead-letter", "requeue"]);
  if (retry.retryIf !== undefined && typeof retry.retryIf !== "function") {
    throw invalidArgument("retry.retryIf", "retry.retryIf must be a function of the error that answers whether to retry.");
  }
  if (retry.backoffMs === undefined) return;
  checkKeys("retry.backoffMs", retry.backoffMs, BACKOFF);
  for (const [name, least] of [
    ["initial", 0],
    ["factor", 1],
    ["max", 0],
  ] as const) {
    if (retry.backoffMs[name] === undefined)
      throw invalidArgument(`retry.backoffMs.${name}`, `retry.backoffMs needs ${BACKOFF.join(", ")}.`);
    checkNumber(`retry.backoffMs.${name}`, retry.backoffMs[name], least);
  }
}

function checkPrefix(prefix: unknown): void {
  if (prefix === undefined || prefix === "") return;
  if (typeof prefix === "string" && PREFIX.test(prefix) && !prefix.includes("..")) return;
  throw invalidArgument("prefix", 'prefix must be 1–100 of A–Z a–z 0–9 . _ -, beginning with a letter or digit, without "..".');
}

function checkInterceptor(value: Interceptor): void {
  if (typeof value !== "object" || value === null) {
    throw invalidArgument("use", `use: an interceptor is an object { publish, handle }, got ${value === null ? "null" : typeof value}.`);
  }
  checkKeys("use", value, INTERCEPTOR);
  for (const name of INTERCEPTOR as readonly (keyof Interceptor)[]) {
    if (value[name] !== undefined && typeof value[name] !== "function") throw invalidArgument("use", `use: ${name} must be a function.`);
  }
}

function checkFactory(factory: AdapterFactory): void {
  if (isFactory(factory)) return;
  throw invalidArgument(
    "adapters",
    "adapters must be the functions that adapter packages export (with schemes and fromUrl), not their results.",
  );
}

/** Whether a value is what an adapter package exports. */
export function isFactory(value: unknown): value is AdapterFactory {
  if ((typeof value !== "function" && typeof value !== "object") || value === null) return false;
  const { schemes, fromUrl } = value as Partial<AdapterFactory>;
  return Array.isArray(schemes) && schemes.every((scheme) => typeof scheme === "string") && typeof fromUrl === "function";
}

function checkLogger(logger: Options["logger"]): void {
  if (logger === undefined) return;
  for (const level of ["info", "warn", "error"] as const) {
    if (typeof logger?.[level] !== "function") throw invalidArgument("logger", "logger must have the functions info, warn and error.");
  }
}

function checkText(name: string, value: unknown): void {
  if (value === undefined || (typeof value === "string" && (name !== "id" || value !== ""))) return;
  throw invalidArgument(
    name,
    `${name} must be a ${name === "id" ? "non-empty " : ""}string, got ${value === "" ? '""' : value === null ? "null" : typeof value}.`,
  );
}

/** Throws `INVALID_ARGUMENT` unless `signal` is undefined or an `AbortSignal`. */
export function checkSignal(signal: unknown): void {
  if (signal === undefined) return;
  // By shape: a signal may come from another realm.
  const { aborted, addEventListener } = (signal ?? {}) as Partial<AbortSignal>;
  if (typeof aborted === "boolean" && typeof addEventListener === "function") return;
  throw invalidArgument("signal", "signal must be an AbortSignal.");
}

function list<T>(name: string, value: readonly T[] | undefined): readonly T[] {
  if (value === undefined) return [];
  if (Array.isArray(value)) return value;
  throw invalidArgument(name, `${name} must be an array.`);
}
