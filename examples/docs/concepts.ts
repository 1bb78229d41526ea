import { type Broker, comparePositions, type Feature, type Message, type Position } from "brokerkit";
import { orders } from "./contracts.ts";

type Seen = (who: string, id: number) => void;

export async function groupOrBroadcast(broker: Broker, seen: Seen): Promise<void> {
  // #region group-or-broadcast
  const topic = broker.topic(orders);

  // Members of one group share the messages; a second group gets all of them again.
  await topic.subscribe({ group: "billing" }, (message) => seen("billing, member 1", message.payload.id));
  await topic.subscribe({ group: "billing" }, (message) => seen("billing, member 2", message.payload.id));
  await topic.subscribe({ group: "shipping" }, (message) => seen("shipping", message.payload.id));

  // A broadcast subscriber sees everything from now on. It shares with nobody and leaves nothing behind.
  await topic.subscribe({ broadcast: true }, (message) => seen("dashboard", message.payload.id));
  // #endregion
}

export async function positions(broker: Broker): Promise<{ readonly before: Position; readonly end: Position; readonly order: unknown }> {
  const topic = broker.topic(orders);
  // #region positions
  const replay = topic.replay({ from: "earliest" });
  const end = await replay.end; // fixed when the replay opened
  const before = replay.position(); // nothing was read yet
  for await (const message of replay) console.log(message.place, message.payload.id);

  const order = comparePositions(before, end); // -1: before. 0: the same. 1: after. undefined: cannot be compared
  // #endregion
  return { before, end, order };
}

export function capabilities(broker: Broker<"groups">): string {
  // #region capabilities
  const { capabilities } = broker;
  console.log(capabilities.durabilityOnAck); // what a confirmed publish has reached: "memory", "fsync", …
  console.log(capabilities.message.maxBytes); // a limit
  console.log(capabilities.supply.deadLetter); // "native", "portable" (brokerkit does it) or "none"

  if (broker.supports("replay")) return rebuild(broker); // the type has replay from here on
  return "no replay here";
  // #endregion
}

function rebuild(broker: Broker<"replay">): string {
  return typeof broker.topic(orders).replay;
}

export async function tombstones(broker: Broker<Feature>): Promise<readonly string[]> {
  const kept: string[] = [];
  // #region tombstone
  const stock = broker.topic("stock"); // a name alone: untyped JSON
  await stock.publish({ left: 3 }, { key: "apples" });
  await stock.publish(null, { key: "apples" }); // a tombstone: "there are no apples any more"

  for await (const message of stock.replay({ from: "earliest" })) kept.push(describe(message));
  // #endregion
  return kept;
}

// #region describe
function describe(message: Message<unknown>): string {
  return message.tombstone ? `${message.key}: gone` : `${message.key}: ${JSON.stringify(message.payload)}`;
}
// #endregion
