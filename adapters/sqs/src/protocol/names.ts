import { createHash } from "node:crypto";
import type { WireRecord } from "brokerkit/driver";

// ---- names
/** SQS: 80 characters with ".fifo" among them; SNS: 256. */
const QUEUE_LENGTH = 75;
const TOPIC_LENGTH = 251;
const MARK = { group: "---", hash: "----", broadcast: "-----", undeliverable: "------" } as const;
/** Single dots and dashes between other characters: dots then become two dashes, and longer runs are left for marks. */
const SIMPLE = /^[A-Za-z0-9_]+(?:[.-][A-Za-z0-9_]+)*$/;
const HASH_LENGTH = 26;

/** How topics, groups and readers are called on AWS. Injective: what has no name of its own is told apart by a hash. */
export class Names {
  readonly #prefix: string;
  readonly #suffix: string;

  constructor(prefix: string, fifo: boolean) {
    this.#prefix = prefix;
    this.#suffix = fifo ? ".fifo" : "";
  }

  /** `a.b` → `a--b`. */
  topic(topic: string): string {
    return this.#named([topic], TOPIC_LENGTH, MARK.group);
  }

  /** The queue of a topic that is one. */
  plain(topic: string): string {
    return this.#named([topic], QUEUE_LENGTH, MARK.group);
  }

  /** `a.b`, `billing` → `a--b---billing`. */
  group(topic: string, group: string): string {
    return this.#named([topic, group], QUEUE_LENGTH, MARK.group);
  }

  /** A reader's own queue; all of a topic's begin alike. */
  broadcast(topic: string, reader: string): string {
    const own = this.#named([topic], QUEUE_LENGTH - MARK.broadcast.length - reader.length, MARK.group);
    return `${this.#bare(own)}${MARK.broadcast}${reader}${this.#suffix}`;
  }

  /** Where the service puts what a group's members received again and again without ever settling it. */
  undeliverable(topic: string, group: string): string {
    const own = this.#named([topic, group], QUEUE_LENGTH - MARK.undeliverable.length - 1, MARK.group);
    return `${this.#bare(own)}${MARK.undeliverable}u${this.#suffix}`;
  }

  isBroadcast(queue: string): boolean {
    return /[^-]-----[^-]/.test(queue);
  }

  /** The group whose queue this is, where the name tells: `"hash"` where only the queue's tags do. */
  groupOf(topic: string, queue: string): string | "hash" | undefined {
    const head = `${this.#bare(this.topic(topic))}${MARK.group}`;
    const name = this.#bare(queue);
    if (new RegExp(`[^-]${MARK.hash}[a-z2-7]{${HASH_LENGTH}}$`).test(name)) return "hash";
    if (!queue.endsWith(this.#suffix) || !name.startsWith(head)) return undefined;
    const group = name.slice(head.length);
    return SIMPLE.test(group) ? group : undefined;
  }

  #bare(name: string): string {
    return this.#suffix === "" ? name : name.slice(0, -this.#suffix.length);
  }

  #named(parts: readonly string[], length: number, mark: string): string {
    const most = length - this.#prefix.length;
    const plain = parts.map((part) => part.replaceAll(".", "--")).join(mark);
    if (plain.length <= most && parts.every((part) => SIMPLE.test(part))) return `${this.#prefix}${plain}${this.#suffix}`;
    const readable = parts
      .join("-")
      .replaceAll(/[^A-Za-z0-9_]+/g, "-")
      .slice(0, most - MARK.hash.length - HASH_LENGTH)
      .replace(/-$/, "");
    return `${this.#prefix}${readable}${MARK.hash}${hash(parts.join("\0"))}${this.#suffix}`;
  }
}

/** 130 bits of SHA-256, in what every name may hold. */
function hash(text: string): string {
  const digits = "abcdefghijklmnopqrstuvwxyz234567";
  const bytes = createHash("sha256").update(text).digest();
  return Array.from({ length: HASH_LENGTH }, (_, n) => {
    const bit = n * 5;
    const pair = ((bytes[bit >> 3] as number) << 8) | (bytes[(bit >> 3) + 1] as number);
    return digits[(pair >> (11 - (bit & 7))) & 31];
  }).join("");
}

// ---- FIFO
const VISIBLE = /^[\x21-\x7d][\x21-\x7e]*$/;
const ID_LENGTH = 128;

/** Visible ASCII stays as it is, all else is told apart by a hash behind a "~", with which nothing else begins. */
function identifier(text: string | Buffer): string {
  const plain = typeof text === "string" ? text : text.toString("latin1");
  if (plain.length <= ID_LENGTH && VISIBLE.test(plain)) return plain;
  return `~${createHash("sha256").update(text).digest("base64url")}`;
}

/**
 * Dead letters are looked through, taken out and put back: in the message groups of their keys, whoever does that would see the first of each
 * key only. So each is a group by itself, and reading one request after the other keeps their order.
 */
export const holdsLetters = (topic: string): boolean => topic.endsWith(".dead");

/** Of all messages of a topic that is one sequence: between message groups there is no order. */
const ONE_SEQUENCE = "~topic";

/** A key's message group. A message without a key is a group of its own, so that nothing waits for it. */
export function messageGroup({ key, order, dedupeId, target: { topic } }: WireRecord): string {
  if (order === "topic" && !holdsLetters(topic)) return ONE_SEQUENCE;
  if (key !== undefined && !holdsLetters(topic)) return identifier(Buffer.from(key));
  return `~-${createHash("sha256").update(dedupeId).digest("base64url")}`;
}

export function deduplicationId({ dedupeId }: WireRecord): string {
  return identifier(dedupeId);
}
