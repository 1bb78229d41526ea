import { describe, expect, test } from "vitest";
import { checkConsumeOptions, checkOptions, checkPublishOptions, checkRequires, checkStart, isFactory } from "../src/checks.ts";
import { isBrokerError } from "../src/errors.ts";
import type { ConsumeOptions, Options, PublishOptions } from "../src/options.ts";

const argumentOf = (run: () => void): unknown => {
  try {
    run();
  } catch (error) {
    return isBrokerError(error, "INVALID_ARGUMENT") ? error.details.argument : error;
  }
  return undefined;
};
const factory = Object.assign(() => {}, { schemes: ["x"], fromUrl: () => {} });
const logger = { info: () => {}, warn: () => {}, error: () => {} };

describe("a broker's options", () => {
  test("may be left out, be undefined, or be all there", () => {
    const undefineds = {
      prefix: undefined,
      provision: undefined,
      use: undefined,
      adapters: undefined,
      logger: undefined,
      defaults: undefined,
    };
    expect(argumentOf(() => checkOptions("connect", {}))).toBeUndefined();
    expect(argumentOf(() => checkOptions("connect", undefineds))).toBeUndefined();
    const all: Options = {
      prefix: "stage-1.",
      provision: "verify",
      use: [{ publish: (_record, next) => next() }, {}],
      adapters: [factory as never],
      logger: console,
      defaults: {
        publish: { timeoutMs: 1, headers: {} },
        consume: { concurrency: 2, retry: { attempts: 1, backoffMs: { initial: 0, factor: 1, max: 0 } } },
      },
    };
    expect(argumentOf(() => checkOptions("connect", all))).toBeUndefined();
    expect(argumentOf(() => checkOptions("connect", { prefix: "", logger, defaults: {} }))).toBeUndefined();
  });

  test.each<[string, unknown]>([
    ["require", { require: ["groups"] }],
    ["connect", null],
    ["connect", "memory:"],
    ["prefix", { prefix: 1 }],
    ["prefix", { prefix: "a b" }],
    ["prefix", { prefix: ".a" }],
    ["prefix", { prefix: "a..b" }],
    ["prefix", { prefix: "x".repeat(101) }],
    ["provision", { provision: "always" }],
    ["provision", { provision: true }],
    ["use", { use: {} }],
    ["use", { use: [null] }],
    ["use", { use: [{ publish: 1 }] }],
    ["handel", { use: [{ handel: () => {} }] }],
    ["adapters", { adapters: factory }],
    ["adapters", { adapters: [{}] }],
    ["adapters", { adapters: [{ name: "x", open: () => {} }] }],
    ["logger", { logger: { info: () => {} } }],
    ["logger", { logger: null }],
    ["subscribe", { defaults: { subscribe: {} } }],
    ["timeout", { defaults: { publish: { timeout: 1 } } }],
    ["id", { defaults: { publish: { id: "x" } } }],
    ["group", { defaults: { consume: { group: "g" } } }],
    ["concurrency", { defaults: { consume: { concurrency: 0 } } }],
    ["defaults.consume", { defaults: { consume: null } }],
    ["attempt", { defaults: { consume: { retry: { attempt: 1 } } } }],
  ])("are refused by the name %s: %j", (argument, options) => {
    expect(argumentOf(() => checkOptions("connect", options as Options))).toBe(argument);
  });
});

describe("publish options", () => {
  test.each<[string, PublishOptions | Record<string, unknown>]>([
    ["key", { key: 1 }],
    ["id", { id: "" }],
    ["id", { id: null }],
    ["delayMs", { delayMs: -1 }],
    ["delayMs", { delayMs: Number.POSITIVE_INFINITY }],
    ["delayMs", { delayMs: "5" }],
    ["ttlMs", { ttlMs: 0 }],
    ["priority", { priority: 1.5 }],
    ["timeoutMs", { timeoutMs: 0 }],
    ["timeoutMs", { timeoutMs: Number.NaN }],
    ["signal", { signal: {} }],
    ["signal", { signal: null }],
    ["payload", { payload: 1 }],
  ])("are refused by the name %s: %j", (argument, options) => {
    expect(argumentOf(() => checkPublishOptions("publish", options as PublishOptions))).toBe(argument);
  });

  test("are fine within their bounds, and may hold keys that the caller allows", () => {
    const options = {
      key: "",
      id: "x",
      delayMs: 0,
      ttlMs: 1,
      priority: 0,
      timeoutMs: 1,
      signal: new AbortController().signal,
      headers: {},
    };
    expect(argumentOf(() => checkPublishOptions("publish", options))).toBeUndefined();
    expect(argumentOf(() => checkPublishOptions("publishAll", { payload: 1 } as PublishOptions, ["payload"]))).toBeUndefined();
  });
});

describe("consume options", () => {
  test.each<[string, unknown]>([
    ["from", { from: "now" }],
    ["from", { from: null }],
    ["from", { from: 5 }],
    ["from", { from: new Date("x") }],
    ["concurrency", { concurrency: 1.5 }],
    ["timeoutMs", { timeoutMs: 0 }],
    ["order", { order: "keys" }],
    ["deadLetter", { deadLetter: true }],
    ["onDataLoss", { onDataLoss: "ignore" }],
    ["signal", { signal: 1 }],
    ["retry", { retry: null }],
    ["retry.attempts", { retry: { attempts: 0 } }],
    ["retry.jitter", { retry: { jitter: "some" } }],
    ["retry.mode", { retry: { mode: "inplace" } }],
    // biome-ignore lint/suspicious/noThenProperty: the name of an option
    ["retry.then", { retry: { then: "drop" } }],
    ["retry.retryIf", { retry: { retryIf: true } }],
    ["retry.backoffMs.max", { retry: { backoffMs: { initial: 1, factor: 1 } } }],
    ["retry.backoffMs.factor", { retry: { backoffMs: { initial: 1, factor: 0.5, max: 1 } } }],
    ["cap", { retry: { backoffMs: { initial: 1, factor: 1, max: 1, cap: 1 } } }],
    ["group", { group: "g" }],
  ])("are refused by the name %s: %j", (argument, options) => {
    const found = argumentOf(() => checkConsumeOptions("subscribe", options as ConsumeOptions));
    expect(found === "position" ? "from" : found).toBe(argument);
  });

  test("may hold keys that the caller allows", () => {
    expect(argumentOf(() => checkConsumeOptions("subscribe", { group: "g" } as ConsumeOptions, ["group"]))).toBeUndefined();
  });

  test.each([["latest"], ["earliest"], [new Date()], [undefined]])("may start from %j", (start) => {
    expect(argumentOf(() => checkStart("from", start))).toBeUndefined();
  });
});

test("requires is a list of known features", () => {
  const known = ["groups", "replay"];
  expect(argumentOf(() => checkRequires(["groups"], known))).toBeUndefined();
  expect(argumentOf(() => checkRequires([], known))).toBeUndefined();
  expect(argumentOf(() => checkRequires(undefined, known))).toBeUndefined();
  expect(argumentOf(() => checkRequires("groups", known))).toBe("requires");
  expect(argumentOf(() => checkRequires(["group"], known))).toBe("requires");
});

test("what an adapter package exports is known by its schemes and fromUrl", () => {
  expect(isFactory(factory)).toBe(true);
  for (const other of [undefined, null, {}, () => {}, { schemes: "x", fromUrl: () => {} }, { schemes: ["x"] }])
    expect(isFactory(other)).toBe(false);
});
