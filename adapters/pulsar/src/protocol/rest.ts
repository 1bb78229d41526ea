import { setTimeout as pause } from "node:timers/promises";
import type { MessageId } from "../transport.ts";
import {
  type InternalStats,
  internalStatsOf,
  numberOf,
  objectOf,
  type Position,
  type TopicStats,
  textsOf,
  topicStatsOf,
} from "./rest-answers.ts";
import { type RestAccess, RestCalls, RestError } from "./rest-call.ts";

/** How long, and how much, messages are kept that every subscription has acknowledged; -1: without limit, 0: not at all. */
export interface RetentionPolicy {
  readonly minutes: number;
  readonly megabytes: number;
}

/** Where a new subscription begins, or an old one is moved to. The message that is named comes first. */
export type RestPosition = "earliest" | "latest" | Pick<MessageId, "ledger" | "entry" | "batchIndex">;

const MISSING = 404;
const CONFLICT = 409;

/** 2^63 - 1, which no number of JavaScript's is. */
const LAST = "9223372036854775807";

/** `persistent://tenant/namespace/topic` → `persistent/tenant/namespace/topic`, encoded. */
export function pathOf(topic: string): string {
  const [, domain, tenant, namespace, name] = /^(persistent|non-persistent):\/\/([^/]+)\/([^/]+)\/(.+)$/.exec(topic) ?? [];
  if (name === undefined) throw new TypeError(`"${topic}" is no full topic name.`);
  return `/admin/v2/${[domain, tenant, namespace, name].map((part) => encodeURIComponent(part as string)).join("/")}`;
}

const namespacePath = (namespace: string): string => `/admin/v2/namespaces/${namespace.split("/").map(encodeURIComponent).join("/")}`;

function positionBody(at: RestPosition, exclusive: boolean): string {
  const tail = `"partitionIndex":-1,"excluded":${exclusive}`;
  if (at === "earliest") return `{"ledgerId":-1,"entryId":-1,${tail}}`;
  if (at === "latest") return `{"ledgerId":${LAST},"entryId":${LAST},${tail}}`;
  return `{"ledgerId":${at.ledger},"entryId":${at.entry},"batchIndex":${at.batchIndex},${tail}}`;
}

/**
 * Pulsar's admin service, as far as a messaging client needs it: https://pulsar.apache.org/admin-rest-api/?version=4.0.6. Topics are full
 * names, and every call ends with its signal. Statistics and subscriptions are asked of one partition, as a topic of its own; what changes
 * a subscription may be told the whole topic.
 * @throws RestError with the HTTP status; what is not there is 404
 */
export class Rest {
  readonly #calls: RestCalls;

  /** @param url of the broker's web service, or of a proxy in front of it: `http://host:8080`, `https://host:8443` */
  constructor(url: string, access: RestAccess) {
    this.#calls = new RestCalls(url, access);
  }

  close(): void {
    this.#calls.close();
  }

  /** The broker's settings as it runs with them. Only its administrators may ask. */
  async runtimeConfiguration(signal: AbortSignal): Promise<Readonly<Record<string, string>>> {
    return objectOf(await this.#calls.send("GET", "/admin/v2/brokers/configuration/runtime", signal)) as Readonly<Record<string, string>>;
  }

  /** @param partitions 0 for a topic that is not partitioned */
  async createTopic(topic: string, partitions: number, signal: AbortSignal): Promise<"created" | "existing"> {
    const path = pathOf(topic);
    const made =
      partitions === 0 ? this.#change("PUT", path, signal) : this.#change("PUT", `${path}/partitions`, signal, String(partitions));
    return (await made) ? "created" : "existing";
  }

  /** 0 for a topic that is not partitioned; 404 for one that is not there. */
  async partitions(topic: string, signal: AbortSignal): Promise<number> {
    return numberOf(objectOf(await this.#calls.send("GET", `${pathOf(topic)}/partitions`, signal))["partitions"]);
  }

  /** With all that it holds, whoever uses it. One that is not there is fine. */
  async deleteTopic(topic: string, signal: AbortSignal): Promise<void> {
    await present(async () => {
      const partitions = await this.partitions(topic, signal);
      await this.#calls.send("DELETE", `${pathOf(topic)}${partitions === 0 ? "" : "/partitions"}?force=true`, signal);
    });
  }

  /** A topic's own policy. Brokers learn of it after it is stored: this resolves when the one that is asked applies it. */
  async setRetention(topic: string, { minutes, megabytes }: RetentionPolicy, signal: AbortSignal): Promise<void> {
    const body = JSON.stringify({ retentionTimeInMinutes: minutes, retentionSizeInMB: megabytes });
    await this.#calls.send("POST", `${pathOf(topic)}/retention`, signal, body);
    for (;;) {
      const applied = await this.retention(topic, signal);
      if (applied?.minutes === minutes && applied.megabytes === megabytes) return;
      await pause(20, undefined, { signal });
    }
  }

  /** The policy that applies to a topic: its own, its namespace's or the broker's. */
  async retention(topic: string, signal: AbortSignal): Promise<RetentionPolicy | undefined> {
    return retentionOf(await this.#calls.send("GET", `${pathOf(topic)}/retention?applied=true`, signal));
  }

  /** In how many bookies an entry is before it is confirmed; `undefined` where the namespace has no policy of its own. */
  async namespaceAckQuorum(namespace: string, signal: AbortSignal): Promise<number | undefined> {
    const policy = await this.#calls.send("GET", `${namespacePath(namespace)}/persistence`, signal);
    return policy === undefined ? undefined : numberOf(objectOf(policy)["bookkeeperAckQuorum"]);
  }

  /** How many messages one consumer may leave unacknowledged, 0 for any; `undefined` where the namespace has no policy of its own. */
  async namespaceMaxUnacked(namespace: string, signal: AbortSignal): Promise<number | undefined> {
    const policy = await this.#calls.send("GET", `${namespacePath(namespace)}/maxUnackedMessagesPerConsumer`, signal);
    return policy === undefined ? undefined : numberOf(policy);
  }

  /** Of one partition. Backlogs are counted exactly, and each subscription's oldest message is looked up. */
  async stats(part: string, signal: AbortSignal): Promise<TopicStats> {
    const query = "getPreciseBacklog=true&subscriptionBacklogSize=true&getEarliestTimeInBacklog=true";
    return topicStatsOf(await this.#calls.send("GET", `${pathOf(part)}/stats?${query}`, signal));
  }

  /** Ledgers and cursors of one partition. */
  async internalStats(part: string, signal: AbortSignal): Promise<InternalStats> {
    return internalStatsOf(await this.#calls.send("GET", `${pathOf(part)}/internalStats`, signal));
  }

  /** Reads what a subscription of one partition has left, and so counts messages instead of entries. `aborted`: it was too much to read all. */
  async analyzeBacklog(
    part: string,
    subscription: string,
    signal: AbortSignal,
  ): Promise<{ readonly entries: number; readonly messages: number; readonly aborted: boolean }> {
    const told = objectOf(await this.#calls.send("POST", `${subscriptionPath(part, subscription)}/analyzeBacklog`, signal));
    return { entries: numberOf(told["entries"]), messages: numberOf(told["messages"]), aborted: told["aborted"] === true };
  }

  /** Of one partition: the first entry that was published at a time or later, epoch ms; where there is none, what will be the next one. */
  async idAtTime(part: string, ms: number, signal: AbortSignal): Promise<Position> {
    const { ledgerId, entryId } = objectOf(await this.#calls.send("GET", `${pathOf(part)}/messageid/${ms}`, signal));
    return { ledger: numberOf(ledgerId), entry: numberOf(entryId) };
  }

  async subscriptions(topic: string, signal: AbortSignal): Promise<readonly string[]> {
    return textsOf(await this.#calls.send("GET", `${pathOf(topic)}/subscriptions`, signal));
  }

  async createSubscription(topic: string, name: string, at: RestPosition, signal: AbortSignal): Promise<"created" | "existing"> {
    return (await this.#change("PUT", subscriptionPath(topic, name), signal, positionBody(at, false))) ? "created" : "existing";
  }

  /** With its backlog, whoever uses it. One that is not there is fine. */
  async deleteSubscription(topic: string, name: string, signal: AbortSignal): Promise<void> {
    await present(() => this.#calls.send("DELETE", `${subscriptionPath(topic, name)}?force=true`, signal));
  }

  /** To the first message that was published at that time or later, epoch ms. Disconnects its consumers. */
  async resetToTime(topic: string, subscription: string, ms: number, signal: AbortSignal): Promise<void> {
    await this.#calls.send("POST", `${subscriptionPath(topic, subscription)}/resetcursor/${ms}`, signal);
  }

  /** Of one partition. `exclusive`: to the message behind it. Disconnects its consumers. */
  async resetToId(part: string, subscription: string, to: RestPosition, exclusive: boolean, signal: AbortSignal): Promise<void> {
    await this.#calls.send("POST", `${subscriptionPath(part, subscription)}/resetcursor`, signal, positionBody(to, exclusive));
  }

  /** Takes all that is there as acknowledged. A subscription that is not there is fine. */
  async skipAll(topic: string, subscription: string, signal: AbortSignal): Promise<void> {
    await present(() => this.#calls.send("POST", `${subscriptionPath(topic, subscription)}/skip_all`, signal));
  }

  /** False when it is there already. */
  async #change(method: string, path: string, signal: AbortSignal, body?: string): Promise<boolean> {
    try {
      await this.#calls.send(method, path, signal, body);
      return true;
    } catch (error) {
      if (error instanceof RestError && error.status === CONFLICT && /already exists/i.test(error.message)) return false;
      throw error;
    }
  }
}

/** What is asked of something that may be gone already. */
async function present(act: () => Promise<unknown>): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!(error instanceof RestError && error.status === MISSING)) throw error;
  }
}

function subscriptionPath(topic: string, name: string): string {
  return `${pathOf(topic)}/subscription/${encodeURIComponent(name)}`;
}

function retentionOf(answer: unknown): RetentionPolicy | undefined {
  if (answer === undefined) return undefined;
  const { retentionTimeInMinutes, retentionSizeInMB } = objectOf(answer);
  return { minutes: numberOf(retentionTimeInMinutes), megabytes: numberOf(retentionSizeInMB) };
}
