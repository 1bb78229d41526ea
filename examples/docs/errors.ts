import { type Broker, connect, isBrokerError, type Receipt } from "brokerkit";
import { orders } from "./contracts.ts";

export type Answer = { readonly status: number; readonly body?: unknown };

export async function answer(publish: () => Promise<Receipt>): Promise<Answer> {
  // #region branch
  try {
    return { status: 202, body: await publish() };
  } catch (error) {
    if (isBrokerError(error, "INVALID_PAYLOAD")) return { status: 422, body: error.details.issues };
    if (isBrokerError(error, "TOO_LARGE")) return { status: 413, body: error.details.maxBytes };
    if (isBrokerError(error)) return { status: error.retryable ? 503 : 500 };
    throw error;
  }
  // #endregion
}

export async function required(url: string): Promise<Broker<"groups" | "replay"> | string> {
  // #region requires
  try {
    return await connect(url, { requires: ["groups", "replay"] });
  } catch (error) {
    if (isBrokerError(error, "UNSUPPORTED")) return `use one of: ${error.details.supportedBy.join(", ")}`;
    if (isBrokerError(error, "ADAPTER_MISSING")) return error.details.install;
    throw error;
  }
  // #endregion
}

export async function watch(broker: Broker<"groups">, report: (error: unknown) => void): Promise<void> {
  // #region closed
  const subscription = await broker.topic(orders).subscribe({ group: "billing" }, () => {});
  subscription.closed.catch(report); // without this line the error ends the process
  // #endregion
}
