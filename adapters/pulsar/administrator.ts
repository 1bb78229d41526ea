import { pathOf, Rest } from "./src/protocol/rest.ts";
import { type RestAccess, RestCalls } from "./src/protocol/rest-call.ts";

/** What tests do with a cluster besides, as whoever runs it would. */
export class Administrator extends Rest {
  readonly #calls: RestCalls;

  constructor(url: string, access: RestAccess) {
    super(url, access);
    this.#calls = new RestCalls(url, access);
  }

  override close(): void {
    super.close();
    this.#calls.close();
  }

  /** More partitions for a partitioned topic. Fewer are refused with 412. */
  async growTopic(topic: string, partitions: number, signal: AbortSignal): Promise<void> {
    await this.#calls.send("POST", `${pathOf(topic)}/partitions`, signal, String(partitions));
  }

  /** The topic is given up by its broker and taken by one again: producers and consumers are closed. */
  async unload(topic: string, signal: AbortSignal): Promise<void> {
    await this.#calls.send("PUT", `${pathOf(topic)}/unload`, signal);
  }

  /** Removes what is stored in one partition or topic, as retention would, and moves its subscriptions behind it. */
  async truncate(topic: string, signal: AbortSignal): Promise<void> {
    await this.#calls.send("DELETE", `${pathOf(topic)}/truncate`, signal);
  }

  /** Lets a user do these things with one topic, where the broker asks who somebody is. */
  async permit(topic: string, user: string, actions: readonly ("produce" | "consume")[], signal: AbortSignal): Promise<void> {
    await this.#calls.send("POST", `${pathOf(topic)}/permissions/${encodeURIComponent(user)}`, signal, JSON.stringify(actions));
  }

  /** Nothing more can be published. */
  async terminate(topic: string, signal: AbortSignal): Promise<void> {
    const partitioned = (await this.partitions(topic, signal)) > 0;
    await this.#calls.send("POST", `${pathOf(topic)}/terminate${partitioned ? "/partitions" : ""}`, signal);
  }

  /** A namespace of `public` with policies of its own: path → value. */
  async createNamespace(name: string, policies: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<void> {
    const path = `/admin/v2/namespaces/public/${name}`;
    await this.#calls.send("PUT", path, signal);
    for (const [policy, value] of Object.entries(policies))
      await this.#calls.send("POST", `${path}/${policy}`, signal, JSON.stringify(value));
  }
}
