import type { Cut, Shard, ShardId } from "brokerkit/driver";
import { Delivery } from "./delivery.ts";
import { Line, spread } from "./line.ts";
import type { Log, Spot } from "./log.ts";
import type { Member } from "./queue.ts";
import type { Read, Source } from "./source.ts";

/** Everything before these numbers. */
export function cutOf(ends: readonly (readonly [log: Log, end: number])[]): Cut {
  return new Map(ends.filter(([, end]) => end > 0).map(([log, end]) => [log.shard, log.spotAt(end - 1)]));
}

/** Reads a topic for itself and moves no group: a broadcast subscriber, or a cursor. */
export class Reader implements Source {
  readonly line: Line = new Line();
  readonly member: Member;
  readonly #topic: Read;
  readonly #parts: readonly { readonly spot: Spot; readonly stop: number; readonly shard: Shard }[];
  readonly paused: Set<ShardId> = new Set();
  error: Error | undefined;

  /** `stops`: where to stop, by shard; it reads on for ever without. */
  constructor(topic: Read, member: Member, spots: readonly Spot[], stops: readonly number[]) {
    this.#topic = topic;
    this.member = member;
    this.#parts = spots.map((spot, n) => ({ spot, stop: stops[n] ?? Number.POSITIVE_INFINITY, shard: { id: spot.log.shard } }));
    topic.sources.add(this);
  }

  take(member: Member, max: number, now: number): Delivery[] {
    this.#topic.enter(now);
    const into: Delivery[] = [];
    spread(this.#parts, member.turn++, max, into, ({ spot, stop, shard }, share) => {
      if (this.paused.has(shard.id)) return;
      spot.step(member.events);
      const { log } = spot;
      // What will not be delivered is passed over at once: the fetch position says whether the end is reached.
      for (const end = into.length + share; spot.next < Math.min(stop, log.next); spot.next++) {
        const stored = log.get(spot.next);
        if (stored === undefined || !spot.wants(stored, now)) continue;
        if (into.length === end) return;
        into.push(new Delivery(shard, log, stored, 1, 0, undefined, undefined));
      }
    });
    return into;
  }

  reached(ends: readonly number[] | undefined): boolean {
    return this.#parts.every(({ spot }, n) => spot.next >= (ends?.[n] ?? spot.log.next));
  }

  serve(now: number): void {
    if (this.line.length > 0) this.line.serve(Number.POSITIVE_INFINITY, (member, max) => this.take(member, max, now));
  }

  floor(log: Log): number {
    return this.#parts.find(({ spot }) => spot.log === log)?.spot.next ?? log.next;
  }

  ack(_member: Member, delivery: Delivery): boolean {
    const { live } = delivery;
    delivery.live = false;
    return live;
  }

  pause(_member: Member, shards: readonly ShardId[], paused: boolean): void {
    for (const shard of shards) {
      if (paused) this.paused.add(shard);
      else this.paused.delete(shard);
    }
  }

  leave(): void {
    this.#topic.sources.delete(this);
    this.line.end(undefined);
  }

  end(error: Error): void {
    this.error = error;
    for (const { shard } of this.#parts) this.member.events.lost(shard, error.message);
    this.line.end(undefined, error);
  }
}
