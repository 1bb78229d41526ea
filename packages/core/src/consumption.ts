import type { BoundTopic } from "./definition.ts";
import type { DeliveryView } from "./delivery.ts";
import type { WireStart } from "./driver/wire.ts";
import type { RetryPolicy } from "./retry/policy.ts";

/** Options of one subscription, checked and with their defaults filled in: what the delivery line works by. */
export interface Consumption {
  readonly topic: BoundTopic;
  /** `undefined`: broadcast. */
  readonly group: string | undefined;
  readonly from: WireStart;
  readonly concurrency: number;
  readonly timeoutMs: number;
  readonly order: "key" | "topic" | "none";
  readonly retry: RetryPolicy;
  readonly deadLetter: "keep" | "drop";
  readonly onDataLoss: "fail" | "skip";
  readonly batch: { readonly max: number; readonly waitMs: number; readonly onThrow: "split" | "whole" } | undefined;
  /** Streams: a run ends when everything of it is settled, not when the handler returns; runs start only on demand. */
  readonly manual: boolean;
  readonly handler: (deliveries: readonly DeliveryView<unknown>[]) => void | PromiseLike<void>;
}
