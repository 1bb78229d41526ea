import { createHash } from "node:crypto";
import type { Cut, Place, ShardId, WireStart } from "brokerkit/driver";

/** The one shard of a topic, and the group's inbox, which is read beside it. */
export const MAIN: ShardId = "0";
export const RETRY: ShardId = "retry";

/** The server takes names of up to 255 characters; what is cut off here leaves room. */
const LONGEST_NAME = 200;

/** A stream and the one subject that it keeps. */
export interface StreamNames {
  readonly stream: string;
  readonly subject: string;
}

/**
 * Topics hold no `=` and no `~`, so both names are injective: an empty token of a subject is written `=`, the dots of a stream's name, which
 * may not have any, are written `~`, and what is too long ends in a digest.
 */
export function namesOf(prefix: string, topic: string): StreamNames {
  const full = prefix + topic;
  const subject = tokens(full);
  const name = full.replaceAll(".", "~");
  if (name.length <= LONGEST_NAME) return { stream: name, subject };
  return { stream: `${name.slice(0, LONGEST_NAME - 41)}=${createHash("sha256").update(name).digest("hex").slice(0, 40)}`, subject };
}

function tokens(name: string): string {
  return name
    .split(".")
    .map((token) => (token === "" ? "=" : token))
    .join(".");
}

/** The stream of all registers, its subjects, and the one of a register. No topic is named so. */
export function registersOf(prefix: string, name: string): StreamNames & { readonly all: string } {
  const { stream, subject } = namesOf(prefix, "=registers");
  return { stream, subject: `${subject}.${tokens(name)}`, all: `${subject}.>` };
}

export function inboxNamesOf(prefix: string, topic: string, group: string): StreamNames {
  return namesOf(prefix, `${topic}.${group}.retry`);
}

/** A group's consumers, by how often it was moved: `billing`, `billing~1`, … Groups hold no `~`. */
export function consumerName(group: string, generation: number): string {
  return generation === 0 ? group : `${group}~${generation}`;
}

/** `undefined`: not a consumer of this group. */
export function generationOf(group: string, consumer: string): number | undefined {
  if (consumer === group) return 0;
  const digits = consumer.startsWith(`${group}~`) ? consumer.slice(group.length + 1) : "";
  return /^[1-9]\d{0,14}$/.test(digits) ? Number(digits) : undefined;
}

/** `41` ⇄ `0:41`. */
export function placeOf(shard: ShardId, sequence: number): Place {
  return `${shard}:${sequence}` as Place;
}

export function cutAt(sequence: number): Cut {
  return sequence <= 0 ? new Map() : cutFrom(sequence);
}

/** A start to go on from; also before the first message of all, which is not the same as no start. */
export function cutFrom(sequence: number): Cut {
  return new Map([[MAIN, placeOf(MAIN, sequence)]]);
}

/** The sequence that a cut covers last; 0: nothing. */
export function sequenceOf(cut: Cut): number {
  const place = cut.get(MAIN);
  return place === undefined ? 0 : Number(place.slice(MAIN.length + 1).split(".")[0]);
}

/** The sequence behind which a start lies; `end` is the stream's last. Times and "earliest" say it otherwise. */
export function behind(start: WireStart, end: number): number {
  return start.kind === "position" ? sequenceOf(start.cut) : end;
}
