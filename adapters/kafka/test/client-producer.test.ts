import { once } from "node:events";
import { connect, createServer } from "node:net";
import { type RunningBroker, reservePort } from "@brokerkit/conformance/brokers";
import { type FaultProxy, startProxy } from "@brokerkit/conformance/faults";
import { Producer } from "@platformatic/kafka";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { clusterAt, idsIn, topicOn, until } from "./log.ts";
import { startKafka } from "./stage.ts";

// Why this adapter sends requests of its own instead of using the library's Producer: see docs/decisions/0008-kafka-requests.md. A test that
// fails here tells that the library has changed, and that the decision may be looked at again.

let broker: RunningBroker;
let proxy: FaultProxy;
const undo: (() => unknown)[] = [];

/** The server tells clients the address of the proxy, so that they can't get around it. */
beforeAll(async () => {
  const port = await reservePort();
  undo.push(() => port.release());
  broker = await startKafka({ "advertised.listeners": `CLIENT://127.0.0.1:${port.port},INTERNAL://127.0.0.1:1` });
  undo.push(() => broker.close());
  proxy = await startProxy({ host: "127.0.0.1", port: broker.port });
  undo.push(() => proxy.close());
  const door = createServer((client) => {
    const inside = connect(proxy.port, "127.0.0.1");
    for (const [one, other] of [[client, inside] as const, [inside, client] as const]) {
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => door.listen(port.port, "127.0.0.1", resolve));
  undo.push(() => new Promise<void>((resolve) => door.close(() => resolve())));
});
afterAll(async () => {
  for (const one of undo.reverse()) await one();
});

const RETRY_MS = 2_000;

function idempotent(): Producer {
  const bootstrapBrokers = [`127.0.0.1:${proxy.port}`];
  const producer = new Producer({ clientId: "theirs", bootstrapBrokers, idempotent: true, retryDelay: RETRY_MS });
  onTestFinished(() => void producer.close(true).catch(() => {}));
  return producer;
}

function send(producer: Producer, topic: string, id: string): Promise<unknown> {
  const headers = new Map([[Buffer.from("brokerkit-id"), Buffer.from(id)]]);
  return producer.send({ messages: [{ topic, key: Buffer.from("k"), value: Buffer.from(`body of ${id}`), headers }] });
}

test("of two sends of one key, the first is overtaken when its connection breaks, and both succeed", async () => {
  const cluster = await clusterAt([broker.port], true);
  const topic = await topicOn(cluster);
  const producer = idempotent();
  await send(producer, topic, "before");
  const cut = proxy.cutWhen({ direction: "up", when: (bytes) => bytes.includes("body of first"), at: "before" });
  const noticed = once(producer, "client:broker:disconnect");
  const first = send(producer, topic, "first");
  expect(await cut).toBe(true);
  await noticed;
  // Until the first is sent again, its sequence number is missing: the library gives the second one another producer's.
  const { producerId } = producer;
  await send(producer, topic, "second");
  expect(producer.producerId).not.toBe(producerId);
  await first;
  expect(await idsIn(cluster, topic)).toEqual(["before", "second", "first"]);
});

test("a send can't be given up: it goes out whenever there is a connection again", async () => {
  const cluster = await clusterAt([broker.port], true);
  const topic = await topicOn(cluster);
  const producer = idempotent();
  await send(producer, topic, "before");
  proxy.refuse();
  proxy.cut();
  let settled = false;
  const sending = send(producer, topic, "forgotten").finally(() => {
    settled = true;
  });
  // Longer than the first repetitions: nobody is told that nothing was sent.
  const begun = performance.now();
  await until(() => performance.now() - begun > RETRY_MS * 1.5, "time");
  expect(settled).toBe(false);
  await proxy.accept();
  await sending;
  expect(await idsIn(cluster, topic)).toEqual(["before", "forgotten"]);
});
