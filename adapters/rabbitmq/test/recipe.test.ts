import { connect } from "amqplib";
import { expect, test } from "vitest";
import { startServer, until } from "./stage.ts";

const KINDS = ["quorum", "classic", "stream"];

/** Declares a durable queue of each kind with one message in it. */
async function fill(url: string): Promise<void> {
  const client = await connect(url);
  // It is killed under this one.
  client.on("error", () => {});
  const channel = await client.createConfirmChannel();
  channel.on("error", () => {});
  for (const kind of KINDS) {
    await channel.assertQueue(kind, { durable: true, arguments: { "x-queue-type": kind } });
    channel.sendToQueue(kind, Buffer.from(kind), { persistent: true });
  }
  await channel.waitForConfirms();
}

/** The first message of a queue, or why there is none. */
async function first(url: string, queue: string): Promise<string> {
  const client = await connect(url);
  const channel = await client.createChannel();
  channel.on("error", () => {});
  await channel.prefetch(1);
  const stream = queue === "stream" ? { arguments: { "x-stream-offset": "first" } } : {};
  const came = Promise.withResolvers<string>();
  await channel
    .consume(queue, (message) => came.resolve(message === null ? "cancelled" : message.content.toString()), stream)
    .catch((error: Error) => came.resolve(error.message));
  const found = await came.promise;
  await client.close();
  return found;
}

test("servers start beside each other, know nothing of each other, and keep all that was confirmed when they are killed", {
  timeout: 120_000,
}, async () => {
  const servers = await Promise.all([startServer(), startServer()]);
  const nodes = await Promise.all(servers.map(({ control }) => control("eval", "[node() | nodes()].")));
  expect(nodes.map((node) => node.trim())).toEqual(servers.map(({ broker }) => `['rabbit-${broker.port}@localhost']`));
  await Promise.all(
    servers.map(async ({ broker, control }) => {
      await fill(broker.url);
      // The register of queues is written a moment later.
      await control("eval", "[dets:sync(Table) || Table <- dets:all()].");
      await broker.kill();
      await broker.restart();
      for (const kind of KINDS) await until(async () => (await first(broker.url, kind)) === kind, `the ${kind} queue`);
    }),
  );
});

test("what a test asks of a server that is unknown is refused by name", async () => {
  await expect(startServer({ nonsense: "1" })).rejects.toThrow('there is no option "nonsense"');
});
