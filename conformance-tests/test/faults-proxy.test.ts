import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import { expect, it, onTestFinished } from "vitest";
import { type FaultProxy, type ProxyTarget, startProxy, until } from "../src/faults/index.ts";

const timeoutMs = 5_000;

/** One side of a connection: what it received, and how it ended. */
class Peer {
  readonly socket: Socket;
  readonly chunks: Buffer[] = [];
  ended = false;
  closed = false;
  error: string | undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.chunks.push(chunk));
    socket.on("end", () => {
      this.ended = true;
    });
    socket.on("error", (error: NodeJS.ErrnoException) => {
      this.error = error.code;
    });
    socket.on("close", () => {
      this.closed = true;
    });
  }
  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }
  get bytes(): number {
    return this.chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  }
  say(text: string | Buffer): void {
    this.socket.write(text);
  }
  hears(text: string): Promise<true> {
    return until(() => this.text === text || undefined, { timeoutMs, what: `"${text}"`, detail: () => `heard: ${this.text}` }).then(
      () => true,
    );
  }
  isClosed(): Promise<true> {
    return until(() => this.closed, { timeoutMs, what: "the connection to be closed" });
  }
}

interface Setup {
  readonly proxy: FaultProxy;
  /** The server's side of each connection. */
  readonly served: Peer[];
  dial(): Promise<readonly [client: Peer, server: Peer]>;
}

async function listen(serve: (socket: Socket) => void): Promise<ProxyTarget> {
  const server = createServer({ noDelay: true }, serve);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  return { host: "127.0.0.1", port: address.port };
}

async function setUp(): Promise<Setup> {
  const served: Peer[] = [];
  const proxy = await startProxy(await listen((socket) => served.push(new Peer(socket))));
  const clients: Socket[] = [];
  onTestFinished(async () => {
    await proxy.close();
    for (const socket of [...clients, ...served.map((peer) => peer.socket)]) socket.destroy();
  });
  const dial = async (): Promise<readonly [Peer, Peer]> => {
    const count = served.length;
    const socket = connect({ host: proxy.host, port: proxy.port, noDelay: true });
    clients.push(socket);
    const client = new Peer(socket);
    await once(socket, "connect");
    const server = await until(() => served[count], { timeoutMs, what: "the server to see the connection" });
    return [client, server];
  };
  return { proxy, served, dial };
}

it("passes everything on, in both directions, and ends as the sides end", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  client.say("question");
  await server.hears("question");
  server.say("answer");
  await client.hears("answer");
  expect(proxy.statistics).toMatchObject({ accepted: 1, open: 1, cut: 0, up: { passed: 8, dropped: 0 }, down: { passed: 6 } });
  client.socket.end();
  await until(() => server.ended && client.closed, { timeoutMs, what: "both sides to end" });
  await until(() => proxy.statistics.open === 0, { timeoutMs, what: "the proxy to forget the connection" });
  expect(client.error).toBeUndefined();
});

it("passes the answer on that comes after the question's end", async () => {
  const target = await listen((socket) => {
    socket.on("end", () => socket.end("late answer"));
    socket.resume();
  });
  const proxy = await startProxy(target);
  onTestFinished(() => proxy.close());
  const client = new Peer(connect({ host: proxy.host, port: proxy.port, allowHalfOpen: true }));
  client.socket.end("question");
  await client.hears("late answer");
});

it("cuts all connections", async () => {
  const { proxy, dial } = await setUp();
  const pairs = [await dial(), await dial()];
  proxy.cut();
  for (const [client, server] of pairs) await Promise.all([client.isClosed(), server.isClosed()]);
  expect(proxy.statistics).toMatchObject({ open: 0, cut: 2 });
  expect(pairs.map(([client]) => client.error)).toEqual([undefined, undefined]);
  const [client, server] = await dial();
  client.say("again");
  await server.hears("again");
});

it("resets all connections", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.reset();
  await Promise.all([client.isClosed(), server.isClosed()]);
  expect([client.error, server.error]).toEqual(["ECONNRESET", "ECONNRESET"]);
});

it("swallows both ways without closing, and resets what lost bytes when healed", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  const [idle] = await dial();
  proxy.drop();
  client.say("lost");
  server.say("lost too");
  await until(() => proxy.statistics.up.dropped === 4 && proxy.statistics.down.dropped === 8, { timeoutMs, what: "both to be swallowed" });
  expect([client.closed, server.closed, server.text, client.text]).toEqual([false, false, "", ""]);
  await proxy.heal();
  await Promise.all([client.isClosed(), server.isClosed()]);
  expect(idle.closed).toBe(false);
});

it("does not tell one side of a half-open connection that the other is gone", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.drop();
  client.socket.resetAndDestroy();
  // Once a later connection is there the proxy has heard of the reset.
  await dial();
  expect(server.closed).toBe(false);
  await proxy.heal();
  await server.isClosed();
  const [other, heard] = await dial();
  proxy.drop("up");
  other.socket.end("bye");
  heard.say("still here");
  await other.hears("still here");
  expect([heard.ended, heard.closed, heard.text]).toEqual([false, false, ""]);
});

it("drops from the server to the client only", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.drop("down");
  client.say("question");
  await server.hears("question");
  server.say("answer");
  await until(() => proxy.statistics.down.dropped === 6, { timeoutMs, what: "the answer to be swallowed" });
  expect(client.text).toBe("");
});

it("pauses with back-pressure, and loses nothing", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.pause();
  const sent = Buffer.alloc(64 << 20, "x");
  client.say(sent);
  client.socket.end();
  // The sender's buffer stays full: the proxy stops reading long before it has everything.
  await until(() => client.socket.writableLength > 0, { timeoutMs, what: "the sender to be held back" });
  expect(server.bytes).toBe(0);
  proxy.resume();
  await until(() => server.ended, { timeoutMs: 20_000, what: "everything to arrive" });
  expect(server.bytes).toBe(sent.length);
  expect(proxy.statistics.up.passed).toBe(sent.length);
});

it("holds back a sender whose receiver does not read", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  server.socket.pause();
  client.say(Buffer.alloc(64 << 20));
  await until(() => proxy.statistics.up.passed > 0, { timeoutMs, what: "the first bytes" });
  server.socket.resume();
  await until(() => server.bytes === 64 << 20, { timeoutMs: 20_000, what: "everything to arrive" });
});

it("makes every byte late without making the connection slow", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.latency(150);
  const began = performance.now();
  const letters = [..."abcdefghijklmnopqrst"];
  for (const letter of letters) {
    client.say(letter);
    // A turn of the event loop, so that the letters travel one by one.
    await new Promise(setImmediate);
  }
  await server.hears(letters.join(""));
  const took = performance.now() - began;
  expect(took).toBeGreaterThanOrEqual(149);
  expect(took).toBeLessThan(letters.length * 150 * 0.7);
});

it("limits bandwidth", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.bandwidth(1_000, "up");
  const began = performance.now();
  client.say(Buffer.alloc(300));
  await until(() => server.bytes === 300, { timeoutMs, what: "300 bytes" });
  expect(performance.now() - began).toBeGreaterThan(250);
  server.say("at once");
  await client.hears("at once");
  proxy.bandwidth(undefined);
  client.say(Buffer.alloc(100_000));
  await until(() => server.bytes === 100_300, { timeoutMs, what: "the rest at full speed" });
});

it("slices into single bytes", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.slice(1);
  client.say("0123456789".repeat(20));
  await server.hears("0123456789".repeat(20));
  expect(server.chunks.length).toBeGreaterThan(100);
});

it("refuses new connections and keeps the open ones", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  proxy.refuse();
  await expect(dial()).rejects.toThrow(/ECONNREFUSED/);
  client.say("still here");
  await server.hears("still here");
  await proxy.accept();
  await dial();
});

it("resets a client whose server is not there", async () => {
  const proxy = await startProxy({ host: "127.0.0.1", port: 1 });
  onTestFinished(() => proxy.close());
  const client = new Peer(connect({ host: proxy.host, port: proxy.port }));
  await client.isClosed();
  expect(client.error).toBe("ECONNRESET");
});

it("cuts after a number of bytes, exactly", async () => {
  const { proxy, dial } = await setUp();
  const [other] = await dial();
  const [client, server] = await dial();
  const cut = proxy.cutWhen({ direction: "up", bytes: 5 });
  other.say("1234");
  client.say("123");
  await server.hears("123");
  client.say("4567");
  expect(await cut).toBe(true);
  await Promise.all([client.isClosed(), server.isClosed()]);
  expect([server.text, server.error, client.error]).toEqual(["12345", undefined, "ECONNRESET"]);
  expect(other.closed).toBe(false);
  other.say("56789");
  await until(() => proxy.statistics.up.passed === 14, { timeoutMs, what: "the rule to have held once" });
});

it("cuts before or after the bytes that a condition picks, even when they come in pieces", async () => {
  const { proxy, dial } = await setUp();
  const [first, one] = await dial();
  void proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("STORE"), at: "before" });
  first.say("hello ");
  await one.hears("hello ");
  first.say("STORE 1");
  await one.isClosed();
  expect(one.text).toBe("hello ");

  const [second, two] = await dial();
  void proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("STORE") });
  second.say("ST");
  await two.hears("ST");
  second.say("ORE 2");
  await two.isClosed();
  expect(two.text).toBe("STORE 2");
});

it("cuts after a write was acted on and before its reply passes", async () => {
  const { proxy, dial } = await setUp();
  const [client, server] = await dial();
  server.socket.on("data", (chunk: Buffer) => server.say(`stored ${chunk.toString()}`));
  client.say("1");
  await client.hears("stored 1");
  const cut = proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("2"), at: "answered" });
  client.say("2");
  expect(await cut).toBe(true);
  await client.isClosed();
  expect([server.text, client.text]).toEqual(["12", "stored 1"]);
});

it("forgets a cut that has not come when it is healed or closed", async () => {
  const { proxy } = await setUp();
  const healed = proxy.cutWhen({ direction: "up", bytes: 5 });
  await proxy.heal();
  expect(await healed).toBe(false);
  const closed = proxy.cutWhen({ direction: "up", bytes: 5 });
  await proxy.close();
  expect(await closed).toBe(false);
  expect(() => proxy.cutWhen({ direction: "up" })).toThrow(TypeError);
});

it("closes everything, also while paused and while dropping", async () => {
  for (const fault of ["pause", "drop"] as const) {
    const { proxy, dial } = await setUp();
    const [client, server] = await dial();
    proxy[fault]();
    client.say("never");
    await proxy.close();
    await proxy.close();
    await Promise.all([client.isClosed(), server.isClosed()]);
    await expect(dial()).rejects.toThrow(/ECONNREFUSED/);
    await expect(proxy.accept()).rejects.toThrow("the proxy is closed");
  }
});
