// #region orders
import { defineTopic } from "brokerkit";
import { z } from "zod";

export const Order = z.object({ id: z.number(), customer: z.string(), at: z.coerce.date() });

export const orders = defineTopic("orders", {
  schema: Order,
  key: (order) => order.customer,
  groups: ["billing"],
});
// #endregion
