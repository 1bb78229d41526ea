import { unsupported } from "./capability/unsupported.ts";
import type { BoundTopic } from "./definition.ts";
import type { StartKind } from "./driver/capabilities.ts";
import type { WireStart } from "./driver/wire.ts";
import { invalidArgument } from "./errors.ts";
import { decodePosition, type Start } from "./position.ts";

/** Who starts: it decides which start points there are, and how their absence is named. */
export type Starter = "group" | "broadcast" | "replay" | "seek";

/** A start as drivers take it. Throws `UNSUPPORTED` where this topic has no such start, `INVALID_ARGUMENT` for what is none of this topic's. */
export function wireStart(start: Start, starter: Starter, adapter: string, topic: BoundTopic, argument = "from"): WireStart {
  const wire = read(start, adapter, topic, argument);
  const { from } = topic.capabilities;
  const kinds: readonly StartKind[] = starter === "seek" ? from.group : from[starter];
  if (kinds.includes(wire.kind) || (argument === "to" && wire.kind === "latest")) return wire;
  if (starter === "replay") {
    if (wire.kind === "latest")
      throw invalidArgument(argument, `replay of "${topic.name}": there is nothing to read again from "latest". Subscribe instead.`);
    throw unsupported(`replay.${wire.kind}`, adapter, topic.name);
  }
  throw unsupported(`from.${starter === "seek" ? "group" : starter}.${wire.kind}`, adapter, topic.name);
}

function read(start: Start, adapter: string, topic: BoundTopic, argument: string): WireStart {
  if (start === "latest") return { kind: "latest" };
  if (start === "earliest") return { kind: "earliest" };
  if (start instanceof Date) {
    const ms = start.getTime();
    if (Number.isNaN(ms)) throw invalidArgument(argument, `${argument}: that Date is invalid.`);
    return { kind: "time", ms };
  }
  if (typeof start !== "string") {
    throw invalidArgument(argument, `${argument} must be "latest", "earliest", a Date or a Position.`);
  }
  const position = decodePosition(start);
  if (position.adapter !== adapter || position.topic !== topic.wire) {
    const whose = `${position.adapter} topic "${position.topic}"`;
    throw invalidArgument(
      argument,
      `${argument}: that position is of ${whose}, not of ${adapter} topic "${topic.wire}". Positions can't be carried over.`,
    );
  }
  return { kind: "position", cut: position.cut };
}
