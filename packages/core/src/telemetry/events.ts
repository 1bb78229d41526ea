import { channel, tracingChannel } from "node:diagnostics_channel";
import type { BrokerError } from "../errors.ts";
import type { Logger } from "../options.ts";

interface Where {
  readonly adapter: string;
  readonly topic?: string | undefined;
  readonly group?: string | undefined;
}

/** What happened in the background. Published on the diagnostics channel `brokerkit.event`. */
export type BrokerEvent = Where &
  (
    | { readonly type: "reconnecting"; readonly error: BrokerError; readonly attempt: number }
    | { readonly type: "reconnected"; readonly downMs: number }
    | { readonly type: "lost"; readonly shard: string; readonly reason: string; readonly deliveries: number }
    | { readonly type: "shard"; readonly shard: string; readonly state: "up" | "down" }
    | {
        readonly type: "data-loss";
        readonly shard: string;
        readonly from?: string | undefined;
        readonly to?: string | undefined;
        readonly missing?: number | undefined;
      }
    | {
        readonly type: "failed";
        readonly id: string;
        readonly attempt: number;
        readonly error: unknown;
        readonly next: "again" | "requeue" | "dead-letter" | "drop";
      }
    | { readonly type: "timeout"; readonly id: string; readonly attempt: number; readonly timeoutMs: number }
    | { readonly type: "dead-letter"; readonly id: string; readonly reason: string }
    | { readonly type: "dropped"; readonly id: string; readonly reason: string }
    | { readonly type: "copy-failed"; readonly id: string; readonly to: string; readonly error: unknown }
    | { readonly type: "from-not-used" }
    | { readonly type: "no-effect"; readonly option: string; readonly detail: string }
    | { readonly type: "subscription-failed"; readonly error: BrokerError }
  );

/** The context object of one publish on the tracing channel `brokerkit.publish`; `headers` may be added to before encoding. */
export interface PublishTrace {
  readonly adapter: string;
  readonly topic: string;
  readonly key: string | undefined;
  readonly headers: Record<string, string>;
  readonly payload: unknown;
  readonly id: string;
  result?: unknown;
  error?: unknown;
}

/** The context object of one handler run on the tracing channel `brokerkit.deliver`. */
export interface DeliverTrace {
  readonly adapter: string;
  readonly topic: string;
  readonly group: string | undefined;
  readonly messages: readonly { readonly id: string; readonly headers: Readonly<Record<string, string>>; readonly attempt: number }[];
  error?: unknown;
}

// Free when unused: `hasSubscribers` is one property read, and no context object is made without one.
export const publishTrace: ReturnType<typeof tracingChannel<unknown, PublishTrace>> = tracingChannel<unknown, PublishTrace>(
  "brokerkit.publish",
);
export const deliverTrace: ReturnType<typeof tracingChannel<unknown, DeliverTrace>> = tracingChannel<unknown, DeliverTrace>(
  "brokerkit.deliver",
);
const events = channel("brokerkit.event");

const LOUD: Readonly<Partial<Record<BrokerEvent["type"], keyof Logger>>> = {
  reconnecting: "warn",
  reconnected: "info",
  "data-loss": "error",
  failed: "warn",
  dropped: "error",
  "copy-failed": "error",
  "dead-letter": "warn",
  timeout: "warn",
  "from-not-used": "info",
  "no-effect": "warn",
  "subscription-failed": "error",
};

/** Emits background events to the diagnostics channel and, the ones an operator should see, to the logger. Never throws. */
export class Telemetry {
  readonly #adapter: () => string;
  readonly #logger: Logger | undefined;

  constructor(adapter: () => string, logger: Logger | undefined) {
    this.#adapter = adapter;
    this.#logger = logger;
  }

  emit(event: EventWithoutAdapter): void {
    const full = { adapter: this.#adapter(), ...event } as BrokerEvent;
    if (events.hasSubscribers) events.publish(full);
    const level = LOUD[full.type];
    if (level === undefined || this.#logger === undefined) return;
    try {
      this.#logger[level](describe(full));
    } catch {
      // A broken logger must not break delivery.
    }
  }
}

type EventWithoutAdapter = BrokerEvent extends infer E ? (E extends BrokerEvent ? Omit<E, "adapter"> : never) : never;

function describe(event: BrokerEvent): string {
  const { type, adapter, topic, group, ...rest } = event;
  const where = [topic, group].filter((part) => part !== undefined).join("/");
  const parts = Object.entries(rest)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${value instanceof Error ? `"${value.message}"` : String(value)}`);
  return `[brokerkit] [${adapter}] ${type}${where === "" ? "" : ` ${where}`} ${parts.join(" ")}`.trimEnd();
}
