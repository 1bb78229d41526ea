import type { Driver } from "brokerkit/driver";
export const PubSubDriver = null as unknown as new (...args: unknown[]) => Driver;
