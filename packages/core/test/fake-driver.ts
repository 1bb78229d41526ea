import type { Adapter, Capabilities, Driver, DriverContext, PublishResult, WireRecord } from "brokerkit/driver";
import { memory } from "brokerkit/memory";
import { featuresOf } from "../src/capability/features.ts";

/** Decides one publish call of the fake driver. */
export type Script = (batch: readonly WireRecord[], signal: AbortSignal, call: number) => PublishResult[] | Promise<PublishResult[]>;

/** Memory with its publish (and, where given, its connect) replaced by a script: for failures that no real backend gives on command. */
export function fakeAdapter(o: {
  publish?: Script;
  connect?: (attempt: number) => Promise<void>;
  capabilities?: (record: Capabilities) => Capabilities;
}): { adapter: Adapter; calls: string[][]; context: () => DriverContext } {
  const base = memory();
  const record = o.capabilities?.(base.capabilities) ?? base.capabilities;
  const calls: string[][] = [];
  let connects = 0;
  let given: DriverContext | undefined;
  const adapter: Adapter = {
    ...base,
    capabilities: record,
    features: featuresOf(record),
    open: (context) => {
      given = context;
      const real = base.open(context);
      const changed: Partial<Driver> = {
        capabilities: record,
        connect: async (signal) => {
          await o.connect?.(++connects);
          await real.connect(signal);
          return record;
        },
        describe: async () => record,
        publish: async (batch, signal) => {
          if (o.publish === undefined) return real.publish(batch, signal);
          calls.push(batch.map((one) => one.id));
          return o.publish(batch, signal, calls.length);
        },
      };
      return new Proxy(real, {
        get: (target, name) => {
          const value: unknown = Reflect.get(changed, name) ?? Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
    },
  };
  return { adapter, calls, context: () => given as DriverContext };
}

export const stored = (batch: readonly WireRecord[]): PublishResult[] => batch.map(() => ({ ok: true }));

export function failure(code: "UNAVAILABLE" | "FORBIDDEN", sent: "no" | "maybe"): PublishResult {
  return { ok: false, error: Object.assign(new Error(code), { driverCode: code }), sent };
}
