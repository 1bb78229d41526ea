import type {
  Adapter,
  Admin,
  Capabilities,
  Driver,
  PublishResult,
  SettleResult,
  Shard,
  Subscription,
  WireDelivery,
  WireRecord,
} from "brokerkit/driver";
import type { Column } from "../../measure/column.ts";
import { indexOf, Messages } from "../../measure/messages.ts";
import { SdkSession } from "../../sdk/session.ts";
import { bytes } from "../../sdk/style.ts";

const STORED: PublishResult = Object.freeze({ ok: true });
const SETTLED: SettleResult = "confirmed";
const NO_HEADERS: WireDelivery["headers"] = Object.freeze([]);

/** A topic that keeps nothing of a message but its number. */
class Numbers {
  #numbers = new Int32Array(1_024);
  #written = 0;
  #read = 0;
  #wake: (() => void) | undefined;

  push(index: number): void {
    if (this.#written === this.#numbers.length) {
      const larger = new Int32Array(this.#written * 2);
      larger.set(this.#numbers);
      this.#numbers = larger;
    }
    this.#numbers[this.#written++] = index;
  }

  pushed(): void {
    this.#wake?.();
    this.#wake = undefined;
  }

  shift(): number | undefined {
    return this.#read === this.#written ? undefined : this.#numbers[this.#read++];
  }

  more(signal: AbortSignal): Promise<void> {
    if (this.#read < this.#written || signal.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      this.#wake = resolve;
      signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }
}

/** The least that a driver can do, so that what is left is core. */
class NullDriver implements Driver {
  readonly capabilities: Capabilities;
  readonly #topics = new Map<string, Numbers>();
  readonly #messages: Messages;

  constructor(capabilities: Capabilities, messages: Messages) {
    this.capabilities = capabilities;
    this.#messages = messages;
  }

  readonly admin: Admin = {
    createTopic: async () => "created",
    describeTopic: async () => undefined,
    deleteTopic: async (topic) => void this.#topics.delete(topic),
    createGroup: async () => "created",
    deleteGroup: async () => {},
    position: async () => new Map(),
    seek: async () => {},
    lag: async () => ({ count: undefined, inFlight: undefined, oldestMs: undefined }),
  };

  #topic(name: string): Numbers {
    const known = this.#topics.get(name);
    if (known !== undefined) return known;
    const made = new Numbers();
    this.#topics.set(name, made);
    return made;
  }

  connect = async (): Promise<Capabilities> => this.capabilities;
  describe = async (): Promise<Capabilities> => this.capabilities;
  ping = async (): Promise<void> => {};
  close = async (): Promise<void> => {};
  classify = (): { readonly code: "INTERNAL"; readonly retryable: false } => ({ code: "INTERNAL", retryable: false });

  replay(): Promise<never> {
    return Promise.reject(new Error("nothing is kept"));
  }

  publish(batch: readonly WireRecord[]): Promise<readonly PublishResult[]> {
    const topic = this.#topic(batch[0]?.target.topic ?? "");
    const results: PublishResult[] = new Array(batch.length);
    for (let n = 0; n < batch.length; n++) {
      topic.push(indexOf((batch[n] as WireRecord).body as Uint8Array));
      results[n] = STORED;
    }
    topic.pushed();
    return Promise.resolve(results);
  }

  async subscribe({ topic: name }: { readonly topic: string }): Promise<Subscription> {
    const topic = this.#topic(name);
    const shard: Shard = { id: "0" };
    const messages = this.#messages;
    const ids: string[] = Array.from({ length: 1_024 }, (_, n) => `id-${n}`);
    return {
      created: false,
      async receive(max, _waitMs, signal) {
        await topic.more(signal);
        const deliveries: WireDelivery[] = [];
        while (deliveries.length < max) {
          const index = topic.shift();
          if (index === undefined) break;
          deliveries.push({
            shard,
            place: undefined,
            id: ids[index & 1_023],
            key: undefined,
            headers: NO_HEADERS,
            body: messages.body(index),
            publishedAt: 0,
            deliveries: 1,
            failures: 0,
            inbox: false,
            leaseUntil: Number.POSITIVE_INFINITY,
          });
        }
        return deliveries;
      },
      ack: async (deliveries) => new Array<SettleResult>(deliveries.length).fill(SETTLED),
      flush: async () => {},
      close: async () => {},
    };
  }
}

export const column: Column = {
  title: "core over a driver that does nothing",
  kind: "floor",
  summary: "as brokerkit, with a driver that keeps a number per message: core's own share",
  packages: () => ["brokerkit"],
  latency: false,
  async open(_site, workload) {
    const { connect, defineTopic } = await import("brokerkit");
    const { memory } = (await import("brokerkit/memory/capabilities")).capabilities;
    const capabilities: Capabilities = {
      ...memory,
      publish: { ...memory.publish, inFlight: 4 },
      lease: { ms: 0, extend: false },
      receive: { ...memory.receive, concurrency: 1, maxWaitMs: 30_000 },
      redelivery: { native: false, maxDelayMs: 0, counted: "none" },
    };
    const adapter: Adapter = {
      name: "nothing",
      spi: 1,
      capabilities,
      features: { groups: true, replay: true, seek: true, lag: true, delay: true, keyOrder: true, atLeastOnce: true },
      open: () => new NullDriver(capabilities, new Messages({ size: workload.size, keys: 0 })),
    };
    const broker = await connect(adapter);
    return new SdkSession({ broker, style: bytes, workload, live: false, define: defineTopic });
  },
};
