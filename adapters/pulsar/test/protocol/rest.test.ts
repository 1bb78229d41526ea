import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from "vitest";
import type { Administrator } from "../../administrator.ts";
import { administrator } from "../../recipe.ts";
import { classify } from "../../src/errors.ts";
import { basicAuth, tokenAuth } from "../../src/protocol/auth.ts";
import { protocolTransport } from "../../src/protocol/index.ts";
import { RestCalls, type RestError } from "../../src/protocol/rest-call.ts";
import { fresh, startServer } from "../stage.ts";

const soon = (): AbortSignal => AbortSignal.timeout(20_000);

describe("on a broker", { timeout: 120_000 }, () => {
  let rest: Administrator;
  let serviceUrl: string;

  beforeAll(async () => {
    const broker = await startServer();
    rest = administrator({ ...broker, options: {} });
    serviceUrl = `pulsar://127.0.0.1:${broker.port}`;
  }, 120_000);
  afterAll(() => rest.close());

  const named = (): string => `persistent://public/default/${fresh()}`;
  const failed = (asked: Promise<unknown>): Promise<unknown> => asked.catch((error: unknown) => (error as RestError).status);

  async function store(topic: string, bodies: readonly string[]): Promise<void> {
    const transport = protocolTransport({ serviceUrl, batching: { by: "none" } });
    try {
      const producer = await transport.producer({ topic }, soon());
      await producer.send(
        bodies.map((body) => ({ payload: Buffer.from(body), properties: [] })),
        soon(),
      );
    } finally {
      await transport.close();
    }
  }

  test("topics are made once, grow and go", async () => {
    const [plain, parted] = [named(), named()];
    expect([await rest.createTopic(plain, 0, soon()), await rest.createTopic(plain, 0, soon())]).toEqual(["created", "existing"]);
    expect([await rest.createTopic(parted, 2, soon()), await rest.createTopic(parted, 3, soon())]).toEqual(["created", "existing"]);
    await rest.growTopic(parted, 4, soon());
    expect([await rest.partitions(plain, soon()), await rest.partitions(parted, soon())]).toEqual([0, 4]);
    await rest.deleteTopic(plain, soon());
    await rest.deleteTopic(parted, soon());
    await rest.deleteTopic(parted, soon());
    expect([await failed(rest.partitions(plain, soon())), await failed(rest.partitions(parted, soon()))]).toEqual([404, 404]);
  });

  test("names with odd characters are one topic", async () => {
    const topic = `${named()} ?#%é&`;
    await rest.createTopic(topic, 0, soon());
    await rest.createSubscription(topic, "a b?/ü", "earliest", soon());
    expect(await rest.subscriptions(topic, soon())).toEqual(["a b?/ü"]);
    await rest.deleteSubscription(topic, "a b?/ü", soon());
    await rest.deleteSubscription(topic, "a b?/ü", soon());
    expect(await rest.subscriptions(topic, soon())).toEqual([]);
  });

  test("a retention that is set is the one that applies", async () => {
    const topic = named();
    await rest.createTopic(topic, 0, soon());
    expect(await rest.retention(topic, soon())).toEqual({ minutes: 10_080, megabytes: -1 });
    await rest.setRetention(topic, { minutes: 3, megabytes: 20_000 }, soon());
    expect(await rest.retention(topic, soon())).toEqual({ minutes: 3, megabytes: 20_000 });
    // Less than the backlog that subscriptions may have, which is 10 GiB.
    expect(await failed(rest.setRetention(topic, { minutes: 3, megabytes: 7 }, soon()))).toBe(412);
    expect(await rest.namespaceAckQuorum("public/default", soon())).toBeUndefined();
    expect(await failed(rest.namespaceAckQuorum("public/none", soon()))).toBe(404);
  });

  test("a subscription begins and is moved where it is told", async () => {
    const topic = named();
    await rest.createTopic(topic, 0, soon());
    await store(topic, ["a", "b", "c"]);
    const ledger = (await rest.internalStats(topic, soon())).ledgers[0]?.ledgerId as number;
    const readsAt = async (group: string): Promise<number | undefined> =>
      (await rest.internalStats(topic, soon())).cursors[group]?.markDelete.entry;
    expect(await rest.createSubscription(topic, "old", "earliest", soon())).toBe("created");
    expect(await rest.createSubscription(topic, "new", "latest", soon())).toBe("created");
    expect(await rest.createSubscription(topic, "new", "earliest", soon())).toBe("existing");
    expect([await readsAt("old"), await readsAt("new")]).toEqual([-1, 2]);
    await rest.resetToId(topic, "new", { ledger, entry: 1, batchIndex: -1 }, false, soon());
    expect(await readsAt("new")).toBe(0);
    await rest.resetToId(topic, "new", { ledger, entry: 1, batchIndex: -1 }, true, soon());
    expect(await readsAt("new")).toBe(1);
    await rest.resetToId(topic, "new", "earliest", false, soon());
    expect(await readsAt("new")).toBe(-1);
    await rest.resetToTime(topic, "new", Date.now(), soon());
    expect(await readsAt("new")).toBe(2);
    await rest.skipAll(topic, "old", soon());
    expect(await readsAt("old")).toBe(2);
    expect(await failed(rest.resetToTime(topic, "none", 1, soon()))).toBe(404);
    expect(await rest.idAtTime(topic, 1, soon())).toEqual({ ledger, entry: 0 });
    expect(await rest.idAtTime(topic, Date.now() + 60_000, soon())).toEqual({ ledger, entry: 3 });
  });

  test("a backlog is told in entries and counted in messages, with its oldest", async () => {
    const topic = named();
    await rest.createTopic(topic, 0, soon());
    await rest.createSubscription(topic, "g", "earliest", soon());
    expect((await rest.stats(topic, soon())).subscriptions["g"]).toMatchObject({ msgBacklog: 0, unackedMessages: 0 });
    const before = Date.now();
    await store(topic, ["a", "b", "c"]);
    const stats = (await rest.stats(topic, soon())).subscriptions["g"];
    expect(stats).toMatchObject({ msgBacklog: 3, unackedMessages: 0 });
    expect(Math.abs((stats?.earliestMsgPublishTimeInBacklog ?? 0) - before)).toBeLessThan(20_000);
    expect(await rest.analyzeBacklog(topic, "g", soon())).toEqual({ entries: 3, messages: 3, aborted: false });
  });

  test("what is removed is gone, and what is terminated takes nothing more", async () => {
    const topic = named();
    await rest.createTopic(topic, 0, soon());
    await store(topic, ["a", "b"]);
    const [old] = (await rest.internalStats(topic, soon())).ledgers;
    await rest.unload(topic, soon());
    await rest.truncate(topic, soon());
    const { ledgers } = await rest.internalStats(topic, soon());
    expect(ledgers.map(({ ledgerId }) => ledgerId)).not.toContain(old?.ledgerId);
    await rest.terminate(topic, soon());
    await expect(store(topic, ["c"])).rejects.toMatchObject({ code: "TopicTerminatedError" });
  });

  test("the broker tells its settings", async () => {
    expect(await rest.runtimeConfiguration(soon())).toMatchObject({ acknowledgmentAtBatchIndexLevelEnabled: "true" });
  });
});

/** A server of the test's own: what a broker does seldom, or never by itself. */
async function fakeService(answer: (request: IncomingMessage, response: ServerResponse) => void): Promise<string> {
  const server = createServer(answer);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function calls(url: string, auth?: ReturnType<typeof tokenAuth>): RestCalls {
  const made = new RestCalls(url, { auth });
  onTestFinished(() => made.close());
  return made;
}

describe("a request", () => {
  test("goes where it is sent on to, with body and credentials, but not for ever", async () => {
    const seen: unknown[] = [];
    const owner = await fakeService((request, response) => {
      request.on("data", (data: Buffer) => seen.push(request.method, request.headers.authorization, data.toString()));
      request.on("end", () => response.end("7"));
    });
    const url = await fakeService((request, response) => {
      request.resume();
      response.writeHead(307, { location: request.url === "/loop" ? "/loop" : `${owner}/here?authoritative=true` }).end();
    });
    expect(await calls(url, tokenAuth("tok")).send("PUT", "/here", soon(), "3")).toBe(7);
    expect(seen).toEqual(["PUT", "Bearer tok", "3"]);
    await expect(calls(url).send("GET", "/loop", soon())).rejects.toThrow("more than 5 times");
    await calls(url, basicAuth("ann", "pw")).send("PUT", "/here", soon(), "3");
    expect(seen[4]).toBe(`Basic ${Buffer.from("ann:pw").toString("base64")}`);
  });

  test("is not sent on to what is no broker, nor over another protocol: credentials stay here", async () => {
    const seen: unknown[] = [];
    const stranger = await fakeService((request, response) => {
      seen.push(request.headers.authorization);
      request.resume();
      response.end("7");
    });
    const places: Readonly<Record<string, readonly [number, string]>> = {
      "/moved": [302, `${stranger}/moved`],
      "/elsewhere": [307, `${stranger}/log-in`],
      "/secure": [307, `${stranger.replace("http:", "https:")}/secure`],
    };
    const url = await fakeService((request, response) => {
      request.resume();
      const [status, location] = places[request.url ?? ""] ?? [200, ""];
      response.writeHead(status, { location }).end();
    });
    for (const [path, [status]] of Object.entries(places)) {
      const refused = calls(url, tokenAuth("tok")).send("GET", path, soon());
      await expect(refused).rejects.toMatchObject({ status, message: expect.stringContaining("as no broker does") });
    }
    expect(seen).toEqual([]);
  });

  test("that is refused says the service's reason, shortened, and nothing of pages in HTML", async () => {
    const url = await fakeService((request, response) => {
      request.resume();
      response.writeHead(409).end(request.url === "/json" ? JSON.stringify({ reason: "x".repeat(2_000) }) : "<html>secret</html>");
    });
    const told = await calls(url)
      .send("GET", "/json", soon())
      .catch((error: RestError) => error);
    expect(told).toMatchObject({ status: 409, message: `The admin service answered 409: ${"x".repeat(300)}` });
    await expect(calls(url).send("GET", "/html", soon())).rejects.toThrow(/^The admin service answered 409$/);
  });

  test("ends with its signal, before an answer and within one", async () => {
    const url = await fakeService((request, response) => {
      request.resume();
      if (request.url === "/half") response.write("{");
    });
    for (const path of ["/never", "/half"]) {
      const reason = new Error("enough");
      const controller = new AbortController();
      const asked = calls(url).send("GET", path, controller.signal);
      setImmediate(() => controller.abort(reason));
      await expect(asked).rejects.toBe(reason);
    }
  });

  test("without credentials is not sent, does not say why they could not be had, and does not wait for them for ever", async () => {
    const url = await fakeService((_, response) => response.end("7"));
    const none = tokenAuth(() => {
      throw new Error("secret");
    });
    const error: Error = await calls(url, none)
      .send("GET", "/", soon())
      .then(
        () => Promise.reject(new Error("it was sent")),
        (error: Error) => error,
      );
    expect([classify(error).code, error.message]).toEqual(["UNAUTHENTICATED", expect.not.stringContaining("secret")]);
    const reason = new Error("enough");
    const slow = tokenAuth(() => new Promise(() => {}));
    await expect(calls(url, slow).send("GET", "/", AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test("is not answered without bound", async () => {
    const chunk = Buffer.alloc(1_048_576, 32);
    const url = await fakeService((request, response) => {
      request.resume();
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    });
    await expect(calls(url).send("GET", "/", soon())).rejects.toThrow("more than 67108864 bytes");
  });
});
