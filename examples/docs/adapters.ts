// What the adapters' own README files show.
// #region memory
import { connect } from "brokerkit";
import { memory } from "brokerkit/memory";

const own = await connect("memory:"); // a world of its own
const shared = await connect("memory:orders"); // what else in this process says "memory:orders" meets it here
const like = await connect("memory:?like=redis"); // only what that adapter can do, within its limits
const adapter = memory({ leaseMs: 2_000 }); // brokers that connect to one adapter value share its topics
// #endregion

export const onMemory = { own, shared, like, adapter } as const;
