// A program whose dependencies are bundled into one file: it gives its adapter, as nothing can be found by name at run time.
import { connect, defineTopic } from "brokerkit";
import { memory } from "brokerkit/memory";
import { z } from "zod";

const broker = await connect("memory:", { adapters: [memory] });
const topic = broker.topic(defineTopic("orders", { schema: z.object({ id: z.number() }) }));
const handled = Promise.withResolvers<number>();
await topic.subscribe({ broadcast: true }, (message) => handled.resolve(message.payload.id));
await topic.publish({ id: 1 });
console.log(await handled.promise);
await broker.close();
