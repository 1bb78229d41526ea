import type { Place } from "../driver/wire.ts";
import { BrokerError } from "../errors.ts";

/** Who should have seen what is gone, and where it was. */
export interface Loss {
  readonly adapter: string;
  readonly topic: string;
  /** Such as `group "billing"` or `this replay`. */
  readonly reader: string;
  readonly from: Place | undefined;
  readonly to: Place | undefined;
  /** What to do next. */
  readonly hint: string;
}

export function dataLoss(loss: Loss): BrokerError<"DATA_LOSS"> {
  const { adapter, topic, reader, from, to, hint } = loss;
  const span = `${from === undefined ? "" : ` from ${from}`}${to === undefined ? "" : ` to ${to}`}`;
  const text = `[${adapter}] Messages of "${topic}"${span} were gone before ${reader} had them: retention has passed. ${hint}`;
  return new BrokerError("DATA_LOSS", text, { details: { from, to }, adapter, topic });
}

/** The loss of a subscription; without a group it is a broadcast reader's. */
export function subscriberLoss(
  adapter: string,
  topic: string,
  group: string | undefined,
  from: Place | undefined,
  to: Place | undefined,
): BrokerError<"DATA_LOSS"> {
  const reader = group === undefined ? "this reader" : `group "${group}"`;
  return dataLoss({ adapter, topic, reader, from, to, hint: 'Subscribe with onDataLoss: "skip" to go on behind them.' });
}
