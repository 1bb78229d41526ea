import { type Broker, connect } from "brokerkit";
import { shelf } from "./index.ts";

export async function byUrl(): Promise<Broker> {
  // #region use
  const broker = await connect("shelf:books", { adapters: [shelf] }); // or connect(shelf({ name: "books" }))
  // #endregion
  return broker;
}
