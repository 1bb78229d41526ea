// (h) Two backends in one application: presence is live and forgotten, everything else is kept; the application holds one broker.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, defineTopic, isBrokerError, routed } from "brokerkit";
import { z } from "zod";
import { orders, prefix } from "./contracts.ts";
import { rebuild } from "./projection.ts";

const ORDERS = 40;
const typing = defineTopic("presence.typing", { schema: z.object({ user: z.string() }), key: ({ user }) => user });

const folder = mkdtempSync(join(tmpdir(), "brokerkit-two-"));
const live = await connect(process.env["PRESENCE_URL"] ?? "memory:?like=redis%2Bpubsub", { prefix });
const kept = await connect(process.env["BROKER_URL"] ?? `sqlite:${join(folder, "orders.db")}`, { prefix });
const all = routed({ "presence.*": live }, kept);

// Presence goes to the live backend, which keeps nothing and says so.
const typed: string[] = [];
const heard = Promise.withResolvers<void>();
await all.topic(typing).subscribe({ broadcast: true }, ({ payload }) => {
  if (typed.push(payload.user) === 3) heard.resolve();
});
for (const user of ["ada", "grace", "alan"]) await all.topic(typing).publish({ user });
await heard.promise;
const refused = await all
  .topic(typing)
  .createGroup("audit")
  .then(
    () => "created",
    (error: unknown) => (isBrokerError(error, "UNSUPPORTED") ? error.details.capability : String(error)),
  );

// Orders go to the other, which replays them.
await all.provision([orders]);
await all
  .topic(orders)
  .publishAll(Array.from({ length: ORDERS }, (_, id) => ({ payload: { id, customer: `customer-${id % 5}`, at: id } })));
const rebuilt = await rebuild(all, ORDERS);
const features = { together: all.features.replay, live: live.features.replay, kept: kept.features.replay };
const health = all.health().ready;
await all.close();
rmSync(folder, { recursive: true, force: true });
console.log(JSON.stringify({ typed, refused, rebuilt, features, health }));
