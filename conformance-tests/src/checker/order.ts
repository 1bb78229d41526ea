import type { Terms } from "./claims.ts";
import { type Delivery, type Group, groupName, type Interruption, type Lane, type Message } from "./ledger.ts";
import { Tally } from "./tally.ts";
import type { OrderFinding } from "./verdict.ts";

/** The highest `seq` of a lane so far, and the delivery that brought it. */
interface Head {
  message: Message;
  delivery: Delivery;
}

/** Whether an interruption concerns a group at all. */
export function concerns(interruption: Interruption, group: Group): boolean {
  return (
    (interruption.topic === undefined || interruption.topic === group.topic.name) &&
    (interruption.group === undefined || interruption.group === group.name)
  );
}

/** When deliveries of this group may have moved from one process to another, in order. */
function moves(group: Group, interruptions: readonly Interruption[]): readonly number[] {
  return interruptions.filter((it) => it.unit !== "broker" && concerns(it, group)).map((it) => it.from);
}

/** `order` per (producer, key), on the first delivery of each id. */
export function judgeOrder(group: Group, terms: Terms, interruptions: readonly Interruption[]): OrderFinding {
  const found = new Tally();
  let judged = 0;
  let exempt = 0;
  if (terms.order === "none") return { ...found.finding(), judged, exempt };

  const heads = new Map<string, Map<Lane, Head>>();
  const moved = moves(group, interruptions);
  let past = 0;
  for (const { message, deliveries } of group.entries.values()) {
    const delivery = deliveries[0];
    if (message.lane === undefined || delivery === undefined) continue;
    for (let next = moved[past]; next !== undefined && next <= delivery.t; next = moved[past]) past++;
    const lastMove = moved[past - 1];

    // Under "process" each process has a view of its own.
    const scope = terms.order === "process" ? delivery.process : "";
    let view = heads.get(scope);
    if (view === undefined) {
      view = new Map();
      heads.set(scope, view);
    }
    const head = view.get(message.lane);
    if (head === undefined || message.seq > head.message.seq) {
      view.set(message.lane, { message, delivery });
      judged++;
      continue;
    }
    const published = message.invokes > 1;
    const handedOver = terms.order === "process" && lastMove !== undefined && message.invokeT < lastMove;
    // Of two processes' clocks the later event may look like the earlier one.
    const unclear = head.delivery.process !== delivery.process && delivery.t - head.delivery.t <= terms.clockMs;
    if (published || handedOver || unclear) {
      exempt++;
      continue;
    }
    judged++;
    found.add(
      () =>
        `${groupName(group.topic.name, group.name)}: ${message.id} (${message.producer}, key ${message.key}, seq ${message.seq}) at ` +
        `${delivery.process} after seq ${head.message.seq} at ${head.delivery.process}`,
    );
  }
  return { ...found.finding(), judged, exempt };
}
