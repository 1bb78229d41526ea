import { type EffectiveCapabilities, type Supplied, type Supply, withPartitions } from "../capabilities.ts";
import type { Capabilities } from "../driver/capabilities.ts";

/** The record that users see: the backend's own, and who supplies what. Frozen throughout. */
export function effectiveCapabilities(native: Capabilities): EffectiveCapabilities {
  return deepFreeze({ ...withPartitions(native), supply: supplied(native) });
}

function supplied(c: Capabilities): Supplied {
  const groups = nativeIf(c.delivery.group !== "none");
  const broadcast = nativeIf(c.delivery.broadcast !== "none");
  // Whatever moves a message aside and then settles the original needs an original that is settled, and headers to say why.
  const movable = c.delivery.group === "at-least-once" && c.message.headers;
  return {
    groups,
    broadcast,
    replay: nativeIf(c.from.replay.length > 0),
    publishBatch: c.publish.maxRecords > 1 ? "native" : "portable",
    deliveryBatch: portableIf(groups !== "none"),
    retry: portableIf(groups !== "none" || broadcast !== "none"),
    delayedNack: delayedNack(c),
    requeue: movable ? inbox(c) : "none",
    deadLetter: portableIf(movable),
    deadLetterList: portableIf(movable),
    redrive: movable ? inbox(c) : "none",
    keyOrder: c.keyOrder === "members" && !c.coordination ? "native" : portableIf(c.keyOrder !== "none" || c.coordination),
    extend: c.lease.extend ? "native" : portableIf(c.lease.ms === 0),
  };
}

function delayedNack(c: Capabilities): Supply {
  if (c.redelivery.native && c.redelivery.maxDelayMs > 0) return "native";
  // A reader that settles nothing may hold as long as it likes.
  const settles = c.delivery.group === "at-least-once";
  const delivers = c.delivery.group !== "none" || c.delivery.broadcast !== "none";
  return portableIf(settles ? c.hold.maxMs > 0 : delivers);
}

function inbox(c: Capabilities): Supply {
  return c.groupInbox === "stream" ? "portable" : c.groupInbox;
}

function nativeIf(condition: boolean): Supply {
  return condition ? "native" : "none";
}

function portableIf(condition: boolean): Supply {
  return condition ? "portable" : "none";
}

function deepFreeze<T extends object>(value: T): T {
  for (const child of Object.values(value)) {
    if (typeof child === "object" && child !== null && !Object.isFrozen(child)) deepFreeze(child);
  }
  return Object.freeze(value);
}
