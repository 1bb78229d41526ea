import type { PublishResult, WireRecord } from "brokerkit/driver";
import type { Client } from "./client.ts";
import { store } from "./scripts/store.ts";

/** A batch is one transaction, all or nothing but for records that are refused, and then one sync of the disk. */
export async function publish(client: Client, batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
  let sent: "no" | "maybe" = "no";
  try {
    const results = await client.transact("write", () => store(client, batch), signal);
    sent = "maybe";
    await client.durable();
    return results;
  } catch (error) {
    return batch.map(() => ({ ok: false, error, sent }));
  }
}
