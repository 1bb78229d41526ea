import { ADAPTERS } from "../adapters.generated.ts";
import { BrokerError } from "../errors.ts";

/**
 * The error for what `adapter` cannot do; it names the adapters that can. To be raised before the operation's first wire call.
 * `capability` is one of `CapabilityName`: for any other word nobody would be found. `instead`: what else to do.
 */
export function unsupported(
  capability: string,
  adapter: string,
  topic?: string,
  instead: string = "leave it out",
): BrokerError<"UNSUPPORTED"> {
  const supportedBy = Object.freeze(
    Object.keys(ADAPTERS).filter((name) => name !== adapter && ADAPTERS[name]?.features.includes(capability)),
  );
  const where = topic === undefined ? "" : ` (topic "${topic}")`;
  const next =
    supportedBy.length === 0
      ? `No adapter has it: ${instead}.`
      : `${instead.charAt(0).toUpperCase()}${instead.slice(1)}, or connect to one that has it: ${supportedBy.join(", ")}.`;
  return new BrokerError("UNSUPPORTED", `${adapter} does not support "${capability}"${where}. ${next}`, {
    details: { capability, supportedBy },
    adapter,
    topic,
  });
}
