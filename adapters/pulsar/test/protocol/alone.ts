// The program of src/protocol/README.md.
// #region imports
import { protocolTransport } from "@brokerkit/pulsar/protocol";
// #endregion

export async function alone(serviceUrl: string, topic: string): Promise<void> {
  // #region use
  const pulsar = protocolTransport({ serviceUrl }); // pulsar://localhost:6650
  const closed = (error: unknown): void => console.error(error);
  const consumer = await pulsar.consumer(
    { topic, subscription: "billing", type: "key_shared", durable: true, from: { kind: "earliest" }, credit: 1_000, events: { closed } },
    AbortSignal.timeout(10_000),
  );
  const producer = await pulsar.producer({ topic, closed }, AbortSignal.timeout(10_000));
  await producer.send([{ payload: Buffer.from("hello"), key: Buffer.from("o-1"), properties: [] }], AbortSignal.timeout(10_000));
  for (const { id, payload } of await consumer.receive(100, 5_000, AbortSignal.timeout(10_000)))
    console.log(String(payload), await consumer.ack([id]));
  await pulsar.close();
  // #endregion
}
