import type { SubscriptionEvents } from "../driver/index.ts";

/** For readers whose ownership and losses concern nobody. */
export const UNHEARD: SubscriptionEvents = { releasing: async () => {}, lost: () => {}, state: () => {}, dataLoss: () => {} };
