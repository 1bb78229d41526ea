import { describe, expect, test } from "vitest";
import { nativeTransport } from "../src/native.ts";
import type { ConsumerOptions } from "../src/transport.ts";
import { soon } from "./stage.ts";

const TOPIC = "persistent://public/default/t";
const OPTIONS = { serviceUrl: "pulsar://localhost:6650", tls: false };
type Config = Readonly<Record<string, unknown>>;

/** Keeps in memory what it is sent. The official client can't be installed from registries alone, so nothing here has met the real one. */
class FakePulsarClient {
  static readonly configs: [string, Config][] = [];
  static readonly sent: Config[] = [];
  static readonly acknowledged: unknown[] = [];

  async getPartitionsForTopic(topic: string): Promise<readonly string[]> {
    return [topic];
  }

  async createProducer(config: Config): Promise<object> {
    FakePulsarClient.configs.push(["producer", config]);
    return {
      send: async (message: Config) => {
        if (message["partitionKey"] === "broken") throw new Error("AlreadyClosed");
        FakePulsarClient.sent.push(message);
        return `(7,${FakePulsarClient.sent.length - 1},-1,0)`;
      },
      close: async () => {},
    };
  }

  async subscribe(config: Config): Promise<object> {
    FakePulsarClient.configs.push(["consumer", config]);
    let next = 0;
    return {
      receive: async () => {
        const message = FakePulsarClient.sent[next];
        if (message === undefined) throw new Error("Failed to receive message: TimeOut");
        const id = `(7,${next++},-1,0)`;
        return {
          getMessageId: () => id,
          getData: () => message["data"],
          getPartitionKey: () => message["partitionKey"] ?? "",
          getProperties: () => message["properties"],
          getPublishTimestamp: () => 5,
          getEventTimestamp: () => message["eventTimestamp"] ?? 0,
          getRedeliveryCount: () => 2,
          getProducerName: () => "p",
        };
      },
      acknowledge: async (message: { getMessageId(): unknown }) => void FakePulsarClient.acknowledged.push(message.getMessageId()),
      close: async () => {},
    };
  }

  async close(): Promise<void> {}
}

const fake = async (): Promise<unknown> => ({ default: { Client: FakePulsarClient, AuthenticationToken: class {} } });
const group: Omit<ConsumerOptions, "durable"> = {
  topic: TOPIC,
  subscription: "g",
  type: "key_shared",
  from: { kind: "earliest" },
  credit: 10,
  name: "me",
  events: { closed: () => {} },
};

describe("the official client", () => {
  test("where it is not installed, is asked for by name", async () => {
    const transport = nativeTransport(OPTIONS);
    await expect(transport.connect(soon())).rejects.toMatchObject({
      driverCode: "ADAPTER_MISSING",
      message: expect.stringContaining("npm install pulsar-client"),
    });
    await transport.close();
  });

  test("carries messages there and back, one key's in order, and says what it can't carry", async () => {
    const transport = nativeTransport(OPTIONS, fake);
    await transport.connect(soon());
    expect(await transport.partitions(TOPIC, soon())).toBe(0);
    const producer = await transport.producer({ topic: TOPIC }, soon());
    const payload = Buffer.from("x");
    const results = await producer.send(
      [
        { payload, key: Buffer.from("k"), properties: [["a", "1"]], eventTime: 9, deliverAt: 11 },
        { payload, properties: [], nullValue: true },
        { payload, properties: [], key: Buffer.from([0xff]) },
        { payload, properties: [], key: Buffer.from("broken") },
        { payload, properties: [], key: Buffer.from("broken") },
      ],
      soon(),
    );
    expect(results.map((result) => (result.ok ? result.id : result.sent))).toEqual([
      { ledger: 7, entry: 0, partition: 0, batchIndex: 0 },
      "no",
      "no",
      "maybe",
      "no",
    ]);
    expect(FakePulsarClient.sent).toEqual([{ data: payload, partitionKey: "k", properties: { a: "1" }, eventTimestamp: 9, deliverAt: 11 }]);
    const consumer = await transport.consumer({ ...group, durable: true }, soon());
    expect(FakePulsarClient.configs.at(-1)).toEqual([
      "consumer",
      {
        topic: TOPIC,
        subscription: "g",
        subscriptionType: "KeyShared",
        subscriptionInitialPosition: "Earliest",
        receiverQueueSize: 10,
        consumerName: "me",
      },
    ]);
    const got = await consumer.receive(5, 50, soon());
    expect(got).toEqual([
      {
        id: { ledger: 7, entry: 0, partition: 0, batchIndex: 0 },
        payload,
        nullValue: false,
        key: Buffer.from("k"),
        properties: [["a", "1"]],
        publishTime: 5,
        eventTime: 9,
        redeliveries: 2,
        producerName: "p",
      },
    ]);
    const ids = got.map(({ id }) => id);
    expect([await consumer.ack(ids), await consumer.ack(ids), FakePulsarClient.acknowledged]).toEqual([
      ["confirmed"],
      ["lost"],
      ["(7,0,-1,0)"],
    ]);
  });

  test("reads by durable subscriptions only", async () => {
    const transport = nativeTransport(OPTIONS, fake);
    await transport.connect(soon());
    await expect(transport.consumer({ ...group, durable: false }, soon())).rejects.toMatchObject({ code: "Unsupported" });
    const consumer = await transport.consumer({ ...group, durable: true }, soon());
    await expect(consumer.lastMessageIds(soon())).rejects.toMatchObject({ code: "Unsupported" });
  });
});
