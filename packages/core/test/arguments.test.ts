import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { connect } from "../src/connect.ts";
import { defineTopic } from "../src/definition.ts";
import type { Delivery } from "../src/message.ts";
import { routed } from "../src/routed.ts";
import type { Broker } from "../src/surface.ts";
import { testBroker } from "../src/testing/test-broker.ts";
import { testMessage } from "../src/testing/test-message.ts";

// What a program without types may give. Each is refused by name, before anything is asked of the backend.
type Untyped = Record<string, (...given: readonly unknown[]) => unknown>;

let broker: Broker;
let topic: Untyped;
beforeAll(async () => {
  broker = await connect("memory:");
  topic = broker.topic("t") as unknown as Untyped;
});
afterAll(() => broker.close());

const call = (verb: string, ...given: readonly unknown[]): unknown => topic[verb]?.(...given);

async function refused(run: () => unknown, argument: string, text: RegExp): Promise<void> {
  const outcome = await (async () => run())().then(
    () => "it was accepted",
    (error: unknown) => error,
  );
  expect(outcome).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument }, message: expect.stringMatching(text) });
}

describe("subscribing", () => {
  test.each(["subscribe", "subscribeBatches", "messages", "batches"])("%s takes its options first, not a group's name", async (verb) => {
    const says = new RegExp(`^${verb} takes its options first, .* was given a text`);
    await refused(() => call(verb, "billing", () => {}), "options", says);
    await refused(() => call(verb, null, () => {}), "options", new RegExp(`^${verb} takes its options first, .* was given null`));
  });

  test.each(["subscribe", "subscribeBatches"])("%s without a handler names itself", async (verb) => {
    await refused(() => call(verb, { group: "g", max: 2 }), "handler", new RegExp(`^${verb} takes a handler`));
  });

  test("a batch without its size is told what is missing", async () => {
    await refused(() => call("batches", { group: "g" }), "max", /^batches: say how many/);
  });

  test("a start that is none is named by its option, and quoted", async () => {
    await refused(() => call("subscribe", { group: "g", from: "beginning" }, () => {}), "from", /^from must be .* got "beginning"/);
    await refused(() => call("createGroup", "g", { from: "beginning" }), "from", /^from must be/);
  });
});

describe("replay refuses when it is called", () => {
  test.each<[string, object]>([
    ["from", {}],
    ["from", { from: "beginning" }],
    ["from", { from: new Date("x") }],
    ["to", { from: "earliest", to: 3 }],
    ["to", { from: "earliest", to: "latest", follow: true }],
    ["key", { from: "earliest", key: 3 }],
    ["follow", { from: "earliest", follow: "yes" }],
    ["signal", { from: "earliest", signal: {} }],
    ["form", { from: "earliest", form: 1 }],
  ])("a wrong %s: %j", (argument, options) => {
    expect(() => call("replay", options)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT", details: { argument } }));
  });
});

test("publishAll tells which record is no record", async () => {
  await expect(call("publishAll", [null, { payload: 1 }, 2])).rejects.toMatchObject({
    code: "PARTIAL",
    details: { results: [{ details: { argument: "records" } }, { duplicate: false }, { details: { argument: "records" } }] },
  });
});

test("provision creates nothing for what was not made by defineTopic", async () => {
  for (const one of ["orders", 1, {}]) await expect(broker.provision([one as never])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect((await broker.topic("undefined").describe()).exists).toBe(false);
});

test("connect takes a URL's text, and says so to a URL object without quoting it", async () => {
  await refused(() => connect(new URL("redis://u:hunter2@host") as never), "url", /^(?!.*hunter2).*url\.href/);
});

test("an interceptor that is a function is told its form", async () => {
  await refused(() => connect("memory:", { use: [(() => {}) as never] }), "use", /\{ publish, handle \}/);
});

test("a routed broker refuses routes, topics and definitions that are none", async () => {
  await refused(() => routed(undefined as never, broker), "routes", /^routed takes an object/);
  const whole = routed({ "a.*": broker }, broker);
  await refused(() => whole.topic(undefined as never), "topic", /^undefined can't be a topic's name/);
  await refused(() => whole.provision(undefined as never), "topics", /array of topics/);
  await refused(() => whole.provision([null as never]), "topic", /^undefined can't be a topic's name/);
});

describe("in tests", () => {
  test("testMessage and published take a definition, not a name", async () => {
    await refused(() => testMessage("orders" as never, 1 as never), "topic", /^testMessage takes .* got the name "orders"/);
    await using tested = testBroker();
    await refused(() => tested.published("orders" as never), "topic", /^published takes .* got the name "orders"/);
    await refused(() => tested.published(undefined as never), "topic", /got undefined/);
  });

  test("testBroker names `like` among its options, and refuses null", async () => {
    await refused(() => testBroker({ lik: "redis" } as never), "lik", /Known: like, prefix/);
    await refused(() => testBroker(null as never), "testBroker", /must be an object/);
  });
});

test("a definition's schema is what makes it one", () => {
  const any = defineTopic("t", { schema: { "~standard": { version: 1, vendor: "x", validate: (value: unknown) => ({ value }) } } });
  expect(testMessage(any, 1).payload).toBe(1);
});

test("a misspelt option of nack, a missing reason of reject, of close, ping and supports are refused by name", async () => {
  const broker = await connect("memory:");
  const seen = Promise.withResolvers<Delivery<unknown>>();
  await broker.topic("t").subscribe({ group: "g" }, (message) => {
    seen.resolve(message);
    return new Promise(() => {});
  });
  await broker.topic("t").publish(1);
  const message = await seen.promise;
  await expect(message.nack({ delay: 60_000 } as object)).rejects.toMatchObject({
    code: "INVALID_ARGUMENT",
    details: { argument: "delay" },
  });
  await expect(message.reject(undefined as unknown as string)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  await expect(broker.ping({ timeout: 1 } as object)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  expect(() => broker.supports("group" as "groups")).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  expect(() => broker.close({ deadline: 1 } as object)).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
  await broker.close({ deadlineMs: 0 });
});

test("a topic's definition is checked as a whole, however it comes", async () => {
  const schema = z.object({ customer: z.string() });
  const wrong: object[] = [{ groups: "billing" }, { order: "fifo" }, { retention: { ms: -1 } }, { key: "customer" }, { partitions: "4" }];
  for (const options of wrong) {
    expect(() => defineTopic("t", { schema, ...options }), JSON.stringify(options)).toThrow(
      expect.objectContaining({ code: "INVALID_ARGUMENT" }),
    );
  }
  expect(() => defineTopic("t", undefined as unknown as { schema: typeof schema })).toThrow(/give a schema/);
  const broker = await connect("memory:");
  expect(() => broker.topic({ name: "t", schema, bogus: 1 } as unknown as ReturnType<typeof defineTopic>)).toThrow(/no option "bogus"/);
  await broker.close();
});

test("a number given as a string is shown as the string it is", () => {
  expect(() => defineTopic("t", { schema: z.number(), partitions: "4" as unknown as number })).toThrow(/got the string "4"/);
});
