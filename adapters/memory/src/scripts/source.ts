import type { Capabilities, Clock, ShardId, WireStart } from "brokerkit/driver";
import type { Delivery } from "./delivery.ts";
import type { Line } from "./line.ts";
import type { Log, Spot } from "./log.ts";
import type { Member } from "./queue.ts";

/** What holds for all topics of a world. */
export interface Laws {
  readonly record: Capabilities;
  readonly clock: Clock;
  /** Whether anything can ask for old messages; if not, what all groups have read is let go. */
  readonly keeps: boolean;
}

/** Whether readers that start at positions are told where they are: a group's deliveries may have no places all the same. */
export function placesReaders({ from, places }: Capabilities): boolean {
  return places.perDelivery || from.broadcast.includes("position") || from.replay.includes("position");
}

/** Who reads a topic: a group, a broadcast subscriber, a cursor. */
export interface Source {
  readonly line: Line;
  /** Why there is nothing to read any more. */
  readonly error: Error | undefined;
  take(member: Member, max: number, now: number): Delivery[];
  /** `false`: it was not this member's any more. */
  ack(member: Member, delivery: Delivery, now: number): boolean;
  pause(member: Member, shards: readonly ShardId[], paused: boolean): void;
  leave(member: Member, now: number): void;
  /** Answers receives that wait. */
  serve(now: number): void;
  /** The first number that it still needs of a log. */
  floor(log: Log): number;
  /** The topic or group is deleted. */
  end(error: Error): void;
}

/** A topic as its sources know it. */
export interface Read {
  readonly laws: Laws;
  readonly sources: Set<Source>;
  /** Delayed publishes so far. */
  readonly tickets: number;
  /** Brings the logs up to now. */
  enter(now: number): void;
  spots(from: WireStart): Spot[];
  /** How many delayed publishes of a log are not due, of those after a turn. */
  delayed(log: Log, since: number): number;
}
