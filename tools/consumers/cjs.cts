// The same in CommonJS: TypeScript turns these imports into require().
import { createBroker, defineTopic, isBrokerError } from "brokerkit";
import { capabilities } from "brokerkit/memory/capabilities";
import { testMessage } from "brokerkit/testing";
import { z } from "zod";

const orders = defineTopic("orders", { schema: z.object({ id: z.number() }) });

async function main(url: string): Promise<string> {
  const broker = createBroker(url, { requires: ["groups"] });
  const handled = new Promise<number>((resolve, reject) => {
    broker
      .topic(orders)
      .subscribe({ group: "billing" }, (message) => resolve(message.payload.id))
      .then(() => broker.topic(orders).publish({ id: 1 }))
      .catch(reject);
  });
  const id = await handled;
  await broker.close();
  const refused = await broker.ping().then(
    () => "answered",
    (error: unknown) => (isBrokerError(error) ? error.code : String(error)),
  );
  return `${id} ${refused} ${testMessage(orders, { id: 2 }).payload.id} ${typeof capabilities}`;
}

main(process.argv[2] ?? "memory:").then(console.log, (error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
