import type { Channel } from "amqplib";
import { driverError } from "brokerkit/driver";
import { DIFFERENT, replyCode } from "../errors.ts";
import { syncOf } from "../mapping.ts";

/** How long a queue outlives whoever made it only for the server to write down names. */
const SYNC_MS = 60_000;

/**
 * Declares a durable queue. `fresh`: it may not have been there before, and is to outlive a server that is killed. A server keeps the name of
 * a new quorum queue to itself for some seconds; if it is killed meanwhile the queue is gone, with all that was confirmed. Declaring another
 * one makes it write its names down.
 */
export async function declareQueue(
  channel: Channel,
  queue: string,
  declared: Readonly<Record<string, unknown>>,
  fresh: boolean,
): Promise<void> {
  await unlessDifferent(`a queue "${queue}"`, channel.assertQueue(queue, { durable: true, arguments: declared }));
  if (!fresh || declared["x-queue-type"] !== "quorum") return;
  // Nobody else's: a server that is asked to make and to delete one at the same time ends the whole connection.
  const sync = syncOf(queue);
  await channel.assertQueue(sync, { durable: true, arguments: { "x-queue-type": "quorum", "x-expires": SYNC_MS } });
  await channel.deleteQueue(sync);
}

/** Says in words that what is there already differs from what would be made. */
export async function unlessDifferent<T>(what: string, asked: Promise<T>): Promise<T> {
  try {
    return await asked;
  } catch (error) {
    if (replyCode(error) !== DIFFERENT) throw error;
    const told = / - (.*)$/.exec((error as Error).message)?.[1] ?? "";
    const text = `There is ${what} already, made with other arguments (${told}). Nothing was changed. Delete it, or use the options that it was made with.`;
    throw driverError("INVALID_ARGUMENT", text, { cause: error });
  }
}
