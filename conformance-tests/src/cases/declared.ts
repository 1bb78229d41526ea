import { inspect, isDeepStrictEqual } from "node:util";
import { connect, type EffectiveCapabilities } from "brokerkit";
import type { Capabilities } from "brokerkit/driver";
import { check, equal, fail, isError, outcome, rejects } from "../assert.ts";
import { type Case, replays } from "../case.ts";

/** Where two records differ, as `path: expected … got …`. */
function differences(expected: unknown, actual: unknown, path = ""): readonly string[] {
  if (isDeepStrictEqual(expected, actual)) return [];
  const both = [expected, actual].every((value) => typeof value === "object" && value !== null && !Array.isArray(value));
  if (!both) return [`${path}: expected ${inspect(expected)}, got ${inspect(actual)}`];
  const [a, b] = [expected as Record<string, unknown>, actual as Record<string, unknown>];
  return [...new Set([...Object.keys(a), ...Object.keys(b)])].flatMap((key) =>
    differences(a[key], b[key], path === "" ? key : `${path}.${key}`),
  );
}

function frozen(value: unknown): boolean {
  return typeof value !== "object" || value === null || (Object.isFrozen(value) && Object.values(value).every(frozen));
}

export const declared: readonly Case[] = [
  {
    id: "expected-capabilities",
    states:
      "The driver declares, on the real backend, exactly the record that its harness expects: neither more than it can nor less than it should.",
    async run(t) {
      const { driver, capabilities } = await t.driver();
      const wrong = differences(t.harness.expected, capabilities);
      if (wrong.length > 0) fail(`The record differs from harness.expected:\n${wrong.join("\n")}`);
      check(frozen(driver.capabilities), "the static record is frozen, throughout");
      equal(t.adapter().name, t.harness.name, "the adapter's name");
    },
  },
  {
    id: "declared/effective",
    states:
      "What users see is the driver's record and who supplies what: every supplied thing is native, portable or none, and features are its boolean view.",
    async run(t) {
      const broker = await t.connect();
      const effective: EffectiveCapabilities = broker.capabilities;
      const { supply, ...native } = effective;
      const { expected } = t.harness;
      // Topics with partitions, which core makes, have more than the backend: what users see is what there can be.
      const seen: Capabilities = expected.coordination
        ? { ...expected, keyOrder: "members", topics: { ...expected.topics, partitions: native.topics.partitions } }
        : expected;
      equal(differences(seen, native), [], "differences between the record and what users see");
      if (expected.coordination)
        equal([supply.keyOrder, native.topics.partitions > 1], ["portable", true], "who supplies key order, by partitions");
      for (const [name, level] of Object.entries(supply))
        check(["native", "portable", "none"].includes(level), `supply.${name} is a level: ${level}`);
      equal({ ...t.adapter().features }, { ...broker.features }, "the adapter's features and the broker's");
      check(frozen(effective), "the effective record is frozen, throughout");
    },
  },
  {
    id: "declared/topic-narrows",
    states: "What `describe` says of a topic narrows the record for that topic alone.",
    async run(t) {
      const [small, usual] = [t.topic("small"), t.topic("usual")];
      const { broker } = await t.record({
        tap: { narrow: (c, _, topic) => (topic === small ? { ...c, message: { ...c.message, maxBytes: 1_024 } } : c) },
      });
      await rejects(broker.topic(small).publish("x".repeat(2_000)), "TOO_LARGE", "publish to the topic that allows less");
      await broker.topic(usual).publish("x".repeat(2_000));
    },
  },
  {
    id: "declared/requires",
    states: "`requires` lets through what the record has and refuses, with UNSUPPORTED and its name, what it has not.",
    needs: ["url"],
    async run(t) {
      const { features } = await t.connect();
      for (const feature of Object.keys(features) as (keyof typeof features)[]) {
        const verdict = await outcome(connect(t.url(), { requires: [feature] }));
        if (verdict.ok) await verdict.value.close();
        equal(verdict.ok, features[feature], `connect with requires: ${feature}`);
        if (!verdict.ok) equal(isError(verdict.error, ["UNSUPPORTED"], "requires").details.capability, feature, "details.capability");
      }
    },
  },
  {
    id: "harness/complete",
    states:
      "A harness with a server has a URL and a plain client, and one whose backend replays can make records expire: no case is left out for convenience.",
    async run(t) {
      if (t.site.broker !== undefined) {
        check(t.harness.url(t.site) !== undefined, "harness.url gives a URL");
        check(t.harness.foreign !== undefined, "harness.foreign is there");
      }
      if (replays(t.capabilities)) check(t.provoke.expire !== undefined, "harness.provoke.expire is there");
    },
  },
];
