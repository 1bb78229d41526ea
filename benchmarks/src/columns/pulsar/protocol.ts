import { protocolTransport } from "../../../../adapters/pulsar/src/protocol/index.ts";
import type { OutgoingMessage, TransportConsumer, TransportProducer } from "../../../../adapters/pulsar/src/transport.ts";
import type { Site } from "../../measure/column.ts";
import type { Messages } from "../../measure/messages.ts";
import { GROUP, type LogClient } from "../kafka/log.ts";

const CREDIT = 5_000;
const forever = (): AbortSignal => AbortSignal.timeout(600_000);
const fullName = (topic: string): string => `persistent://public/default/${topic}`;

/** The binary protocol without brokerkit. Topics are made by the broker when they are first used. */
export async function openProtocol({ host, port }: Pick<Site, "host" | "port">): Promise<LogClient> {
  const transport = protocolTransport({ serviceUrl: `pulsar://${host}:${port}`, batchIndexAck: true });
  await transport.connect(forever());
  const producers = new Map<string, Promise<TransportProducer>>();
  const producerOf = (topic: string): Promise<TransportProducer> => {
    const open = producers.get(topic) ?? transport.producer({ topic: fullName(topic) }, forever());
    producers.set(topic, open);
    return open;
  };
  const subscribe = (topic: string): Promise<TransportConsumer> =>
    transport.consumer(
      {
        ...{ topic: fullName(topic), subscription: GROUP, type: "shared", durable: true, from: { kind: "earliest" }, credit: CREDIT },
        events: { closed: () => {} },
      },
      forever(),
    );
  return {
    // Acknowledged messages are not kept here, so the group is there before them.
    async create(topic) {
      await producerOf(topic);
      await (await subscribe(topic)).close();
    },
    async add(topic, messages, first, count) {
      const producer = await producerOf(topic);
      const results = await producer.send(
        Array.from({ length: count }, (_, n) => outgoing(messages, first + n)),
        forever(),
      );
      for (const result of results) if (!result.ok) throw result.error;
    },
    async read(topic, take, rest, fail) {
      const consumer = await subscribe(topic);
      const closing = new AbortController();
      const reading = readAll(consumer, take, rest, closing.signal).catch((error: unknown) => {
        if (!closing.signal.aborted) fail(error);
      });
      return { flush: async () => {}, close: () => closed(consumer, closing, reading) };
    },
    async remove(topic) {
      await (await producers.get(topic))?.close();
      producers.delete(topic);
    },
    close: () => transport.close(),
  };
}

function outgoing(messages: Messages, index: number): OutgoingMessage {
  const key = messages.key(index);
  return { payload: messages.body(index), properties: [], key: key === undefined ? undefined : Buffer.from(key) };
}

async function readAll(
  consumer: TransportConsumer,
  take: (body: Buffer) => void,
  rest: () => Promise<void> | undefined,
  signal: AbortSignal,
): Promise<void> {
  // What was acknowledged is answered while the next ones are taken.
  let acknowledged: Promise<unknown> = Promise.resolve();
  while (!signal.aborted) {
    const some = await consumer.receive(1_000, 100, signal);
    for (const { payload } of some) {
      take(Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength));
      const resting = rest();
      if (resting !== undefined) await resting;
    }
    await acknowledged;
    acknowledged = consumer.ack(some.map(({ id }) => id));
  }
  await acknowledged;
}

async function closed(consumer: TransportConsumer, closing: AbortController, reading: Promise<void>): Promise<void> {
  closing.abort();
  await reading;
  await consumer.close();
}
