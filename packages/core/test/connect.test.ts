import { inspect } from "node:util";
import { memory } from "brokerkit/memory";
import { afterEach, describe, expect, test } from "vitest";
import { connect, createBroker } from "../src/connect.ts";
import type { Adapter, AdapterFactory, BrokerUrl, FactoryContext } from "../src/driver/adapter.ts";
import { driverError } from "../src/driver/errors.ts";
import { type BrokerError, isBrokerError } from "../src/errors.ts";
import type { Broker } from "../src/surface.ts";
import { withLeaf } from "./capability/records.ts";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const broker of open.splice(0)) await broker.close();
});

async function refusal(run: () => unknown): Promise<BrokerError> {
  try {
    const broker = (await run()) as Broker;
    open.push(broker);
  } catch (error) {
    if (isBrokerError(error)) return error;
    throw error;
  }
  throw new Error("it was accepted");
}

/** An adapter package for the scheme `own`, as a third party would write one. */
function thirdParty(make: (url: BrokerUrl, context: FactoryContext) => Adapter | Promise<Adapter> = () => memory()): AdapterFactory {
  return Object.assign((): Adapter => memory(), { schemes: ["own", "own+tls"], fromUrl: make });
}

describe("connect", () => {
  test("opens the built-in backend by its URL, and what is published arrives", async () => {
    const broker = await connect("memory:");
    open.push(broker);
    const got: unknown[] = [];
    const arrived = Promise.withResolvers<void>();
    await broker.topic("t").subscribe({ group: "g" }, (message) => {
      got.push(message.payload);
      arrived.resolve();
    });
    await broker.topic("t").publish({ n: 1 });
    await arrived.promise;
    expect(got).toEqual([{ n: 1 }]);
    expect(broker.features.groups).toBe(true);
    expect(broker.capabilities.supply.deadLetter).toBe("portable");
  });

  test("opens an adapter that it is given", async () => {
    const broker = await connect(memory());
    open.push(broker);
    expect((await broker.topic("t").publish(1)).id).toBeTypeOf("string");
  });

  test("asks the given factories first, with the parts of the URL", async () => {
    const urls: BrokerUrl[] = [];
    const factory = thirdParty(async (url, context) => {
      urls.push(url);
      expect((await context.capabilitiesOf("memory")).delivery.group).toBe("at-least-once");
      return memory();
    });
    open.push(await connect("own+tls://u:p@h:1/x?a=b", { adapters: [factory] }));
    expect(urls.map((url) => [url.scheme, url.hosts[0]?.port, url.path, url.credentials.password, url.options.get("a")])).toEqual([
      ["own+tls", 1, "x", "p", "b"],
    ]);
    const own = Object.assign((): Adapter => memory(), {
      schemes: ["memory"],
      fromUrl: thirdParty(() => memory({ world: "given" })).fromUrl,
    });
    open.push(await connect("memory:", { adapters: [own] }));
  });

  test("refuses an unknown scheme, lists the known ones and has a guess", async () => {
    const error = await refusal(() => connect("memroy:"));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument: "url" } });
    expect(error.message).toContain('Did you mean "memory:"?');
    expect(error.message).toContain("sqlite");
    expect((await refusal(() => connect("mmeory:"))).message).toContain('Did you mean "memory:"?');
    expect(
      (await refusal(() => connect("own:", { adapters: [thirdParty()] }).then(() => connect("owm:", { adapters: [thirdParty()] }))))
        .message,
    ).toContain('Did you mean "own:"?');
    expect((await refusal(() => connect("zzzzzzzzz:"))).message).not.toContain("Did you mean");
  });

  test.each([
    "canary:canary@host",
    "x://canary:canary@",
    "x://canary:canary@h",
    "memory:canary:canary@h",
    "memory://canary:canary@h/?x",
    "x:y:canary@z",
  ])("shows nothing secret when it refuses %s", async (url) => {
    const error = await refusal(() => connect(url));
    expect(`${error.message}${error.stack}${JSON.stringify(error)}${inspect(error.cause)}`).not.toContain("canary");
  });

  test("says that a URL's parts or options are wrong when the adapter says so", async () => {
    const wrong = thirdParty(() => {
      throw driverError("INVALID_ARGUMENT", 'there is no option "x"');
    });
    const error = await refusal(() => connect("own:?x=1", { adapters: [wrong] }));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument: "url" } });
    expect(error.message).toContain('there is no option "x"');
    expect(await refusal(() => connect("memory:?lik=x"))).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument: "url" } });
    expect(await refusal(() => connect("memory:?like=nobody"))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("refuses an adapter made for another version of the interface, naming both", async () => {
    const error = await refusal(() => connect({ ...memory(), spi: 2 } as unknown as Adapter));
    expect(error).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument: "adapter" } });
    expect(error.message).toMatch(/version 2 .* version 1/);
    const lazily = thirdParty(() => ({ ...memory(), spi: 0 }) as unknown as Adapter);
    expect(await refusal(() => connect("own:", { adapters: [lazily] }))).toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  test("refuses an adapter whose features contradict its record", async () => {
    const adapter = memory();
    const error = await refusal(() => connect({ ...adapter, features: { ...adapter.features, replay: false } } as Adapter));
    expect(error.code).toBe("INTERNAL");
    expect(error.message).toContain("replay");
  });

  test.each<[string, unknown]>([
    ["adapter", memory],
    ["url", undefined],
    ["url", null],
    ["url", 5],
    ["url", {}],
    ["url", ""],
  ])("refuses as %s what is neither a URL nor an adapter: %j", async (argument, target) => {
    expect(await refusal(() => connect(target as string))).toMatchObject({ code: "INVALID_ARGUMENT", details: { argument } });
  });

  test("refuses unknown options and features", async () => {
    expect(await refusal(() => connect("memory:", { require: [] } as object))).toMatchObject({ details: { argument: "require" } });
    expect(await refusal(() => connect("memory:", { requires: ["group"] as never }))).toMatchObject({ details: { argument: "requires" } });
    expect(await refusal(() => connect("memory:", { prefix: " " }))).toMatchObject({ details: { argument: "prefix" } });
  });

  test("checks what is required against what is there, and names who has it", async () => {
    const weak = memory({ like: withLeaf(memory().capabilities, "from.replay", []) });
    const error = await refusal(() => connect("own:", { adapters: [thirdParty(() => weak)], requires: ["groups", "replay"] }));
    expect(error).toMatchObject({ code: "UNSUPPORTED", details: { capability: "replay" } });
    open.push(await connect("own:", { adapters: [thirdParty(() => weak)], requires: ["groups", "lag"] }));
    expect(await refusal(() => connect(weak, { requires: ["replay"] }))).toMatchObject({ code: "UNSUPPORTED" });
    open.push(await connect("memory:", { requires: ["groups", "replay", "seek", "lag", "delay", "keyOrder", "atLeastOnce"] }));
  });

  test("lets go of what it opened when it fails", async () => {
    const adapter = memory();
    let closed = 0;
    const failing: Adapter = {
      ...adapter,
      open: (context) => {
        const driver = adapter.open(context);
        return Object.assign(Object.create(driver) as typeof driver, {
          connect: () => Promise.reject(driverError("UNAUTHENTICATED", "wrong password")),
          close: async () => {
            closed++;
            await driver.close();
          },
        });
      },
    };
    expect(await refusal(() => connect(failing))).toMatchObject({ code: "UNAUTHENTICATED" });
    expect(closed).toBe(1);
  });
});

describe("createBroker", () => {
  test("does nothing before its first use, and then connects by itself", async () => {
    let asked = 0;
    const broker = createBroker("own:", {
      adapters: [
        thirdParty(() => {
          asked++;
          return memory();
        }),
      ],
    });
    open.push(broker);
    expect(asked).toBe(0);
    expect(() => broker.capabilities).toThrow(
      expect.objectContaining({ code: "UNAVAILABLE", message: expect.stringContaining("await broker.connect()") }),
    );
    expect(() => broker.features).toThrow(expect.objectContaining({ code: "UNAVAILABLE" }));
    expect(broker.health()).toMatchObject({ ready: false });
    await broker.topic("t").publish(1);
    await broker.connect();
    expect([asked, broker.features.groups, broker.health().ready]).toEqual([1, true, true]);
  });

  test("throws at once for what is wrong with URL or options", () => {
    for (const run of [
      () => createBroker("nothing"),
      () => createBroker("nobody:"),
      () => createBroker("memory:", { provision: "no" as never }),
    ]) {
      expect(run).toThrow(expect.objectContaining({ code: "INVALID_ARGUMENT" }));
    }
  });

  test("closed before it was used, it never opens", async () => {
    const broker = createBroker("memory:");
    await broker.close();
    await expect(broker.topic("t").publish(1)).rejects.toMatchObject({ code: "CLOSED" });
    await expect(broker.connect()).rejects.toMatchObject({ code: "CLOSED" });
  });
});
