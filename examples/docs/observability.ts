// #region event-imports
import { subscribe, tracingChannel } from "node:diagnostics_channel";
import { type Broker, type BrokerEvent, type DeliverTrace, isBrokerError, type PublishTrace } from "brokerkit";
// #endregion

export type Log = (line: string) => void;

export function listen(log: Log): void {
  // #region events
  subscribe("brokerkit.event", (message) => {
    const event = message as BrokerEvent;
    if (event.type === "dead-letter") log(`${event.topic}/${event.group}: ${event.id}, ${event.reason}`);
    if (event.type === "data-loss") log(`${event.topic}/${event.group}: ${event.missing ?? "some"} messages were gone`);
  });
  // #endregion
}

export function carryTrace(traceparent: () => string, log: Log): void {
  // #region publish-trace
  tracingChannel<unknown, PublishTrace>("brokerkit.publish").subscribe({
    start: (publish) => {
      publish.headers["traceparent"] = traceparent(); // headers may be added until the record is encoded
    },
    asyncEnd: ({ topic, error }) => void (error === undefined && log(`published to ${topic}`)),
    error: ({ topic }) => log(`not published to ${topic}`), // also for what was refused before anything was waited for
    end: () => {},
    asyncStart: () => {},
  });
  // #endregion
}

export function timeHandlers(now: () => number, observe: (topic: string, ms: number) => void): void {
  // #region deliver-trace
  const began = new WeakMap<object, number>();
  tracingChannel<unknown, DeliverTrace>("brokerkit.deliver").subscribe({
    start: (run) => void began.set(run, now()),
    asyncEnd: (run) => observe(run.topic, now() - (began.get(run) ?? now())),
    end: () => {},
    asyncStart: () => {},
    error: () => {},
  });
  // #endregion
}

export async function lagMetric(broker: Broker<"groups" | "lag">, gauge: (name: string, value: number) => void): Promise<void> {
  // #region lag-metric
  for (const group of ["billing", "shipping"]) {
    try {
      const { messages, oldestMs } = await broker.topic("orders").group(group).lag();
      if (messages !== undefined) gauge(`lag.${group}`, messages); // undefined is "not known", which is not 0
      if (oldestMs !== undefined) gauge(`lag.${group}.oldestMs`, oldestMs);
    } catch (error) {
      if (!isBrokerError(error, "NOT_FOUND")) throw error; // the group does not exist yet
    }
  }
  // #endregion
}
