// #region program
import { type Broker, connect, defineTopic, routed } from "brokerkit";
import { z } from "zod";
import { orders } from "../contracts.ts";

const presence = defineTopic("presence.rooms", { schema: z.object({ room: z.string(), user: z.string() }) });

/** Presence is worth nothing a second later; orders must not be lost. The application holds one broker. */
export async function open(liveUrl: string, recordUrl: string): Promise<Broker> {
  return routed({ "presence.*": await connect(liveUrl) }, await connect(recordUrl));
}

export async function run(broker: Broker, seen: (what: string) => void): Promise<void> {
  await broker.topic(presence).subscribe({ broadcast: true }, ({ payload }) => seen(`${payload.user} is in ${payload.room}`));
  await broker.topic(orders).subscribe({ group: "billing" }, ({ payload }) => seen(`order ${payload.id}`));

  await broker.topic(presence).publish({ room: "tea", user: "ada" });
  await broker.topic(orders).publish({ id: 7, customer: "ada", at: new Date() });
}
// #endregion
