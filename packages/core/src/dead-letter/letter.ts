import type { WireDelivery, WireHeader, WireRecord } from "../driver/wire.ts";
import { newId } from "../primitives/ids.ts";

/** The headers of a dead letter, and of the marker that says what became of it. */
const H = {
  kind: "brokerkit-dead",
  reason: "brokerkit-dead-reason",
  errorName: "brokerkit-dead-error-name",
  errorMessage: "brokerkit-dead-error-message",
  attempts: "brokerkit-dead-attempts",
  first: "brokerkit-dead-first-failed-at",
  last: "brokerkit-dead-last-failed-at",
  topic: "brokerkit-dead-origin-topic",
  group: "brokerkit-dead-origin-group",
  place: "brokerkit-dead-origin-place",
  tombstone: "brokerkit-dead-tombstone",
  /** How often the message was redriven: each trip is an act of publishing of its own. */
  cycle: "brokerkit-cycle",
} as const;

export type LetterKind = "dead" | "redriven" | "purged";

/** Errors are for people: enough to know the cause, not enough to fill a header limit. */
const MAX_TEXT = 1_000;
const FEW_WORDS = 60;
const TEXTS: readonly string[] = [H.reason, H.errorName, H.errorMessage];
/** What a letter can't do without. */
const LEAST: readonly string[] = [H.kind, H.reason, H.cycle, H.tombstone];

export function deadTopic(topic: string, group: string): string {
  return `${topic}.${group}.dead`;
}

export interface Death {
  readonly topic: string;
  readonly group: string;
  readonly id: string;
  readonly wire: WireDelivery;
  readonly reason: string;
  readonly error: unknown;
  readonly attempts: number;
  readonly firstFailedAt: number;
  readonly lastFailedAt: number;
}

/** The record that keeps a message its group gave up on: body, key and headers as they were, and why. */
export function letterRecord(death: Death): WireRecord {
  const { wire, error } = death;
  const cycle = cycleOf(wire.headers);
  const own: WireHeader[] = [
    header(H.kind, "dead"),
    header(H.reason, death.reason),
    header(H.attempts, String(death.attempts)),
    header(H.first, String(death.firstFailedAt)),
    header(H.last, String(death.lastFailedAt)),
    header(H.topic, death.topic),
    header(H.group, death.group),
    header(H.cycle, String(cycle)),
  ];
  if (error !== undefined) {
    own.push(
      header(
        H.errorName,
        said(() => (error instanceof Error ? error.name : typeof error)),
      ),
    );
    own.push(
      header(
        H.errorMessage,
        said(() => (error instanceof Error ? error.message : error)),
      ),
    );
  }
  if (wire.place !== undefined) own.push(header(H.place, wire.place));
  // A null body would be a tombstone of the dead topic itself.
  if (wire.body === null) own.push(header(H.tombstone, "1"));
  return {
    target: { topic: deadTopic(death.topic, death.group) },
    id: death.id,
    dedupeId: `${death.id}#${death.group}#dead${cycle}`,
    key: wire.key,
    headers: [...foreign(wire.headers), ...own],
    body: wire.body ?? EMPTY,
    publishedAt: wire.publishedAt,
  };
}

/** The message again, for its group's inbox, `n` telling this act of publishing from every other. */
export function requeueRecord(o: {
  topic: string;
  group: string;
  id: string;
  wire: WireDelivery;
  failures: number;
  delayMs: number | undefined;
}): WireRecord {
  const { wire, topic, group, id, failures } = o;
  return {
    target: { topic, group },
    id,
    dedupeId: `${id}#${group}#${cycleOf(wire.headers)}.${failures}`,
    key: wire.key,
    headers: wire.headers,
    body: wire.body,
    publishedAt: wire.publishedAt,
    delayMs: o.delayMs,
    failures,
  };
}

/** A dead letter as it is read back; `undefined` for what is none. */
export interface ReadLetter {
  readonly kind: LetterKind;
  readonly id: string;
  readonly wire: WireDelivery;
  readonly cycle: number;
}

export function readLetter(wire: WireDelivery): ReadLetter | undefined {
  const kind = text(wire.headers, H.kind);
  if (wire.id === undefined || (kind !== "dead" && kind !== "redriven" && kind !== "purged")) return undefined;
  return { kind, id: wire.id, wire, cycle: cycleOf(wire.headers) };
}

/** What a dead letter says beside the message itself. */
export function letterFacts(wire: WireDelivery): {
  reason: string;
  error: { name: string; message: string } | undefined;
  attempts: number;
  firstFailedAt: number;
  lastFailedAt: number;
  topic: string;
  group: string;
  place: string | undefined;
} {
  const { headers } = wire;
  const name = text(headers, H.errorName);
  return {
    reason: text(headers, H.reason) ?? "unknown",
    error: name === undefined ? undefined : { name, message: text(headers, H.errorMessage) ?? "" },
    attempts: Number(text(headers, H.attempts) ?? 0),
    firstFailedAt: Number(text(headers, H.first) ?? wire.publishedAt),
    lastFailedAt: Number(text(headers, H.last) ?? wire.publishedAt),
    topic: text(headers, H.topic) ?? "",
    group: text(headers, H.group) ?? "",
    place: text(headers, H.place),
  };
}

/** The letter's message for the inbox of the group that failed: fresh attempts, a new act of publishing, no trace of its death but the count. */
export function redriveRecord(letter: ReadLetter, topic: string, group: string): WireRecord {
  const { wire } = letter;
  const cycle = letter.cycle + 1;
  return {
    target: { topic, group },
    id: letter.id,
    dedupeId: `${letter.id}#${group}#redrive${cycle}`,
    key: wire.key,
    headers: [...foreign(wire.headers), header(H.cycle, String(cycle))],
    body: text(wire.headers, H.tombstone) === undefined ? wire.body : null,
    publishedAt: wire.publishedAt,
    failures: 0,
  };
}

/** Says in the dead topic what became of a letter, under the same id. */
export function markerRecord(letter: ReadLetter, topic: string, group: string, kind: "redriven" | "purged", now: number): WireRecord {
  return {
    target: { topic: deadTopic(topic, group) },
    id: letter.id,
    dedupeId: `${letter.id}#${group}#${kind}${letter.cycle}`,
    key: letter.wire.key,
    headers: [header(H.kind, kind), header(H.cycle, String(letter.cycle))],
    body: EMPTY,
    publishedAt: now,
  };
}

/** The same act again under another name: for a `duplicate` answer that no doubt of ours explains. */
export function renamed(record: WireRecord, dedupeId: string = record.dedupeId): WireRecord {
  return { ...record, dedupeId: `${dedupeId}#${newId()}` };
}

/**
 * A dead letter that did not fit beside its message says less: first the error in a few words, then only that it is dead and why, with
 * what a redrive needs. `undefined`: there is nothing left to leave out.
 */
export function shortened(record: WireRecord): WireRecord | undefined {
  const { headers } = record;
  if (text(headers, H.kind) !== "dead") return undefined;
  if ((text(headers, H.errorMessage)?.length ?? 0) > FEW_WORDS) return { ...record, headers: headers.map(inFewWords) };
  const least = headers.filter(([name]) => !name.startsWith("brokerkit-") || LEAST.includes(name));
  return least.length < headers.length ? { ...record, headers: least.map(inFewWords) } : undefined;
}

function inFewWords(one: WireHeader): WireHeader {
  const [name] = one;
  return TEXTS.includes(name) ? header(name, (text([one], name) ?? "").slice(0, FEW_WORDS)) : one;
}

const EMPTY = new Uint8Array(0);

/** Anything can be thrown, also what can't be read as text: that must not keep a letter from being written. */
function said(read: () => unknown): string {
  try {
    return String(read());
  } catch {
    return "unreadable";
  }
}

function header(name: string, value: string): WireHeader {
  return [name, Buffer.from(value.slice(0, MAX_TEXT).replace(/[\r\n\0]+/g, " "))];
}

function text(headers: readonly WireHeader[], name: string): string | undefined {
  const found = headers.findLast((entry) => entry[0] === name);
  return found === undefined ? undefined : Buffer.from(found[1]).toString("utf8");
}

function cycleOf(headers: readonly WireHeader[]): number {
  return Number(text(headers, H.cycle) ?? 0) || 0;
}

function foreign(headers: readonly WireHeader[]): readonly WireHeader[] {
  return headers.filter(([name]) => !name.startsWith("brokerkit-"));
}
