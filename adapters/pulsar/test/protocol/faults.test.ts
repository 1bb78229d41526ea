import { connect, createServer, type Server } from "node:net";
import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { beforeAll, describe, expect, test } from "vitest";
import {
  admin,
  client,
  consume,
  defer,
  eventually,
  fresh,
  message,
  messages,
  partitioned,
  produce,
  proxied,
  soon,
  startServer,
  texts,
} from "./stage.ts";

let broker: RunningBroker;
beforeAll(async () => {
  broker = await startServer();
});

/** Passes bytes on, and flips one of the next piece that holds `marker` on its way to the client, once. */
async function flipping(marker: string): Promise<{ host: string; port: number; readonly flipped: boolean }> {
  let flipped = false;
  const server: Server = createServer((down) => {
    const up = connect({ host: broker.host, port: broker.port });
    down.on("error", () => up.destroy()).on("close", () => up.destroy());
    up.on("error", () => down.destroy()).on("close", () => down.destroy());
    down.pipe(up);
    up.on("data", (bytes: Buffer) => {
      const at = bytes.indexOf(marker);
      if (at >= 0 && !flipped) {
        flipped = true;
        bytes[at] = (bytes[at] as number) ^ 1;
      }
      down.write(bytes);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  defer(async () => server.close());
  const { port } = server.address() as { port: number };
  return {
    host: "127.0.0.1",
    port,
    get flipped() {
      return flipped;
    },
  };
}

describe("on a bad network", () => {
  test("bytes one by one are as good as any", async () => {
    const proxy = await proxied(broker);
    proxy.slice(1);
    const transport = client(proxy);
    const topic = fresh();
    const { store } = await produce(transport, topic);
    await store(messages(50, 5));
    const { consumer, take } = await consume(transport, topic);
    const taken = await take(50);
    expect(new Set(texts(taken)).size).toBe(50);
    expect((await consumer.ack(taken.map(({ id }) => id))).filter((result) => result === "confirmed").length).toBeGreaterThan(0);
  });

  test("a damaged message ends the connection, is never handed out, and comes whole to the next consumer", async () => {
    const proxy = await flipping("intact");
    const topic = fresh();
    await (await produce(client(broker), topic)).store([message("intact", "k")]);
    const first = await consume(client(proxy), topic);
    await eventually(() => first.ends.length === 1, "the end of the consumer");
    expect(proxy.flipped).toBe(true);
    expect(first.ends[0]).toMatchObject({ code: "ConnectionLost", cause: { name: "ChecksumError" } });
    await expect(first.consumer.receive(1, 10, soon())).rejects.toMatchObject({ code: "ConnectionLost" });
    const second = await consume(client(proxy), topic);
    expect(texts(await second.take(1))).toEqual(["intact"]);
  });

  test("a connection that went silent is found out, and what was written is in doubt", async () => {
    const proxy = await proxied(broker);
    const transport = client(proxy, { keepAliveMs: 200 });
    const topic = fresh();
    const { producer, store, ends } = await produce(transport, topic);
    const { consumer, ends: consumerEnds, take } = await consume(transport, topic);
    await store([message("a")]);
    const taken = await take(1);
    proxy.drop();
    const asked = performance.now();
    const [result] = await producer.send([message("b")], soon());
    expect(result).toMatchObject({ ok: false, sent: "maybe", error: { code: "ConnectionLost" } });
    expect(ranFor(asked)).toBeLessThan(3_000);
    expect(ends).toHaveLength(1);
    expect(consumerEnds).toHaveLength(1);
    expect(await consumer.ack(taken.map(({ id }) => id))).toEqual(["lost"]);
    await expect(transport.connect(AbortSignal.timeout(300))).rejects.toMatchObject({ name: "PulsarError" });
  });

  test("a cut connection fails what waits for an answer, and the next attempt connects", async () => {
    const proxy = await proxied(broker);
    const downs: unknown[] = [];
    const transport = client(proxy, { onDown: (error) => downs.push(error) });
    await transport.connect(soon());
    proxy.pause("up");
    const pinging = transport.ping(soon());
    proxy.reset();
    await expect(pinging).rejects.toMatchObject({ code: "ConnectionLost" });
    expect(downs).toHaveLength(1);
    proxy.resume();
    await transport.connect(soon());
    await transport.ping(soon());
  });

  test("nobody at the address, and somebody else at it", async () => {
    const proxy = await proxied(broker);
    proxy.refuse();
    await expect(client(proxy).connect(soon())).rejects.toMatchObject({ code: "ConnectError" });
    const stranger = createServer((socket) => {
      socket.on("error", () => {});
      socket.write("HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    await new Promise<void>((resolve) => stranger.listen(0, "127.0.0.1", resolve));
    defer(async () => stranger.close());
    const { port } = stranger.address() as { port: number };
    await expect(client({ host: "127.0.0.1", port }).connect(soon())).rejects.toMatchObject({ code: "ProtocolError" });
    await expect(client(broker, { connectTimeoutMs: 200 }).partitions("no topic", soon())).rejects.toMatchObject({ name: "PulsarError" });
  });
});

describe("when the broker moves things", () => {
  test("an unloaded topic closes its producer and its consumer, and they may come back at once", async () => {
    const transport = client(broker);
    const topic = fresh();
    const { store, ends } = await produce(transport, topic);
    const first = await consume(transport, topic);
    await store([message("a", "k")]);
    const taken = await first.take(1);
    await admin(broker, (rest) => rest.unload(topic, soon()));
    await eventually(() => ends.length === 1 && first.ends.length === 1, "both ends");
    expect([ends[0], first.ends[0]]).toMatchObject([{ code: "Detached" }, { code: "Detached" }]);
    expect(await first.consumer.ack(taken.map(({ id }) => id))).toEqual(["lost"]);
    const again = await produce(transport, topic);
    await again.store([message("b", "k")]);
    const second = await consume(transport, topic);
    expect(texts(await second.take(2))).toEqual(["a", "b"]);
  });

  test("an acknowledgement on its way to a consumer that is closed is in doubt at once", async () => {
    const proxy = await proxied(broker);
    const topic = fresh();
    await (await produce(client(broker), topic)).store([message("a", "k"), message("b", "k")]);
    const { consumer, take, ends } = await consume(client(proxy, { batchIndexAck: true }), topic);
    const [a, b] = (await take(2)).map(({ id }) => id) as [never, never];
    proxy.pause("up");
    const began = performance.now();
    const acking = consumer.ack([a]);
    // A turn of the event loop, in which it is written.
    await new Promise(setImmediate);
    await admin(broker, (rest) => rest.unload(topic, soon()));
    expect(await acking).toMatchObject([{ error: { code: "Detached" } }]);
    expect(ranFor(began)).toBeLessThan(5_000);
    expect(ends).toHaveLength(1);
    expect(await consumer.ack([b])).toEqual(["lost"]);
  });

  test("partitions that are added are written and read", async () => {
    // The broker gives the group its place on a new partition while that grows, and closes who is there by then.
    const transport = client(broker, { partitionsMs: 100, reconnect: true });
    const topic = await partitioned(broker, 1);
    const { store } = await produce(transport, topic);
    const { consumer, ends } = await consume(transport, topic, { credit: 10_000 });
    await admin(broker, (rest) => rest.growTopic(topic, 3, soon()));
    const used = new Set<number>();
    await eventually(async () => {
      for (const result of await store(messages(20, 20))) if (result.ok) used.add(result.id.partition);
      return used.size === 3;
    }, "three partitions to be written");
    const read = new Set<number>();
    await eventually(async () => {
      for (const { id } of await consumer.receive(1_000, 100, soon())) read.add(id.partition);
      return read.size === 3;
    }, "three partitions to be read");
    expect(ends).toEqual([]);
  });
});
