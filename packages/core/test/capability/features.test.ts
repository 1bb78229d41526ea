import { describe, expect, test } from "vitest";
import { ADAPTERS } from "../../src/adapters.generated.ts";
import type { Supplied } from "../../src/capabilities.ts";
import { effectiveCapabilities } from "../../src/capability/effective.ts";
import { FEATURE_NAMES, featureNames, featuresOf } from "../../src/capability/features.ts";
import { unsupported } from "../../src/capability/unsupported.ts";
import { isBrokerError } from "../../src/errors.ts";
import { EVERYTHING, NOTHING, withLeaf } from "./records.ts";

describe("features", () => {
  test("are all there where the record has everything, and none where it has nothing", () => {
    expect(Object.values(featuresOf(EVERYTHING))).toEqual(Array(7).fill(true));
    expect(Object.values(featuresOf(NOTHING))).toEqual(Array(7).fill(false));
    expect(Object.keys(featuresOf(NOTHING)).sort()).toEqual(["atLeastOnce", "delay", "groups", "keyOrder", "lag", "replay", "seek"]);
  });

  test.each([
    ["groups", "delivery.group", "none"],
    ["atLeastOnce", "delivery.group", "at-most-once"],
    ["replay", "from.replay", []],
    ["seek", "seek", "none"],
    ["lag", "lag.count", "none"],
    ["delay", "delay.maxMs", 0],
    ["keyOrder", "keyOrder", "process"],
  ] as const)("%s is gone when %s is %j", (feature, path, value) => {
    expect(featuresOf(withLeaf(withLeaf(EVERYTHING, "coordination", false), path, value))[feature]).toBe(false);
  });

  test.each(["process", "none"])("key order %s is one between members where topics can be given partitions", (keyOrder) => {
    const record = withLeaf(withLeaf(EVERYTHING, "topics.partitions", 1), "keyOrder", keyOrder);
    expect(featuresOf(record).keyOrder).toBe(true);
    expect(featureNames(record)).toContain("partitions");
    expect(effectiveCapabilities(record)).toMatchObject({
      keyOrder: "members",
      topics: { partitions: 256 },
      supply: { keyOrder: "portable" },
    });
  });

  test.each([
    ["groups", "delivery.group", "at-most-once"],
    ["seek", "seek", "idle"],
    ["lag", "lag.count", "estimate"],
    ["replay", "from.replay", ["time"]],
  ] as const)("%s is there when %s is only %j", (feature, path, value) => {
    expect(featuresOf(withLeaf(EVERYTHING, path, value))[feature]).toBe(true);
  });

  test("names hold the seven and the finer ones", () => {
    const names = featureNames(EVERYTHING);
    expect(names).toEqual(
      expect.arrayContaining([...FEATURE_NAMES, "broadcast", "ttl", "priority", "dedupe", "tombstone", "retention.ms"]),
    );
    expect(featureNames(NOTHING)).toEqual([]);
    expect(featureNames(withLeaf(EVERYTHING, "from.group", ["latest"]))).not.toContain("from.group.time");
  });
});

describe("the effective record", () => {
  test("keeps the native one as it is, is frozen throughout, and says who supplies what", () => {
    const native = withLeaf(EVERYTHING, "coordination", false);
    const { supply, ...rest } = effectiveCapabilities(native);
    expect(rest).toEqual(native);
    expect(Object.isFrozen(supply)).toBe(true);
    expect(Object.isFrozen(rest.from.group)).toBe(true);
    expect(Object.values(effectiveCapabilities(NOTHING).supply).filter((one) => one !== "none")).toEqual(["portable"]);
  });

  const log = withLeaf(withLeaf(withLeaf(EVERYTHING, "redelivery.native", false), "groupInbox", "stream"), "lease", {
    ms: 0,
    extend: false,
  });
  test.each<[string, typeof EVERYTHING, Partial<Supplied>]>([
    [
      "everything native",
      EVERYTHING,
      { delayedNack: "native", requeue: "native", deadLetter: "portable", redrive: "native", extend: "native" },
    ],
    ["a log", log, { delayedNack: "portable", requeue: "portable", deadLetter: "portable", redrive: "portable", extend: "portable" }],
    [
      "no inbox",
      withLeaf(EVERYTHING, "groupInbox", "none"),
      { requeue: "none", deadLetter: "portable", deadLetterList: "portable", redrive: "none" },
    ],
    [
      "no replay",
      withLeaf(EVERYTHING, "from.replay", []),
      { replay: "none", deadLetter: "portable", deadLetterList: "portable", redrive: "native" },
    ],
    ["no headers", withLeaf(EVERYTHING, "message.headers", false), { deadLetter: "none", requeue: "none" }],
    [
      "groups at most once",
      withLeaf(EVERYTHING, "delivery.group", "at-most-once"),
      { groups: "native", deadLetter: "none", requeue: "none", retry: "portable", deliveryBatch: "portable" },
    ],
    [
      "broadcast only",
      withLeaf(withLeaf(NOTHING, "delivery.broadcast", "at-most-once"), "lease.ms", 0),
      {
        groups: "none",
        broadcast: "native",
        retry: "portable",
        delayedNack: "portable",
        deadLetter: "none",
        deliveryBatch: "none",
        extend: "portable",
      },
    ],
    ["key order between members", withLeaf(EVERYTHING, "coordination", false), { keyOrder: "native" }],
    ["key order in one process", withLeaf(EVERYTHING, "keyOrder", "process"), { keyOrder: "portable" }],
    ["a lease that cannot be extended", withLeaf(EVERYTHING, "lease.extend", false), { extend: "none" }],
  ])("with %s", (_name, native, expected) => {
    expect(effectiveCapabilities(native).supply).toMatchObject(expected);
  });
});

describe("UNSUPPORTED", () => {
  test("names the capability, the topic, the adapters that have it, and what to do", () => {
    const error = unsupported("delay", "other", "orders");
    expect(isBrokerError(error, "UNSUPPORTED")).toBe(true);
    expect(error.details.capability).toBe("delay");
    expect(error.details.supportedBy).toContain("memory");
    expect(error.message).toContain('"delay"');
    expect(error.message).toContain('"orders"');
    expect(error.message).toContain("memory");
    expect([error.adapter, error.topic, error.retryable]).toEqual(["other", "orders", false]);
  });

  test("does not send anyone to the adapter that has just refused, nor to one that does not exist", () => {
    expect(unsupported("delay", "memory").details.supportedBy).not.toContain("memory");
    const nobody = unsupported("telepathy", "memory");
    expect(nobody.details.supportedBy).toEqual([]);
    expect(nobody.message).toContain("No adapter has it");
  });

  test("the table of adapters has no scheme twice", () => {
    const schemes = Object.values(ADAPTERS).flatMap((adapter) => adapter.schemes);
    expect(new Set(schemes).size).toBe(schemes.length);
  });
});
