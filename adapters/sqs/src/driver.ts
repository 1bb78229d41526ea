import type {
  Capabilities,
  Classified,
  Driver,
  DriverContext,
  PublishResult,
  SubscribeRequest,
  Subscription,
  WireRecord,
} from "brokerkit/driver";
import { SqsAdmin } from "./admin.ts";
import { capabilities, SNS_BYTES } from "./capabilities.ts";
import { Aws } from "./client.ts";
import { absent, classify, topicMissing, unavailable } from "./errors.ts";
import type { Settings } from "./options.ts";
import { newCall } from "./protocol/http.ts";
import { publish } from "./publisher.ts";
import { openSubscription, type QueueSubscription } from "./subscription.ts";

const NEVER: AbortSignal = new AbortController().signal;
/** What closing may take in all; core waits no longer. */
const CLOSE_MS = 2_500;

/** SQS and SNS by the SDK. There is no connection to lose: each request stands for itself, and what is owned is owned by its lease. */
export class SqsDriver implements Driver {
  readonly capabilities: Capabilities;
  readonly admin: SqsAdmin;
  readonly #settings: Settings;
  readonly #context: DriverContext;
  readonly #subscriptions = new Set<QueueSubscription>();
  #loading: Promise<Aws> | undefined;
  #aws: Aws | undefined;
  #closed = false;
  #looking = false;

  constructor(settings: Settings, context: DriverContext) {
    this.capabilities = capabilities[settings.fifo ? "sqs+fifo" : "sqs"];
    this.#settings = settings;
    this.#context = context;
    this.admin = new SqsAdmin(settings, () => this.#open());
  }

  async connect(signal: AbortSignal): Promise<Capabilities> {
    this.#loading ??= Aws.open(this.#settings, () => void this.#look());
    this.#aws = await this.#loading;
    if (this.#closed) this.#aws.destroy();
    await this.ping(signal);
    return this.#narrowed();
  }

  /** What options and endpoint leave of the ceiling. */
  #narrowed(): Capabilities {
    const { leaseMs, fanout, durability } = this.#settings;
    const { delivery, message } = this.capabilities;
    return Object.freeze({
      ...this.capabilities,
      delivery: Object.freeze(fanout ? delivery : { ...delivery, broadcast: "none" as const, groups: 1 }),
      durable: durability !== "none" && durability !== "memory",
      durabilityOnAck: durability,
      lease: Object.freeze({ ms: leaseMs, extend: true }),
      from: Object.freeze({ ...this.capabilities.from, broadcast: fanout ? this.capabilities.from.broadcast : Object.freeze([]) }),
      message: Object.freeze({ ...message, maxBytes: fanout ? SNS_BYTES : message.maxBytes }),
    });
  }

  async describe(topic: string, signal: AbortSignal): Promise<Capabilities> {
    if (!(await this.admin.exists(topic, signal))) throw topicMissing(topic);
    return this.#narrowed();
  }

  async publish(batch: readonly WireRecord[], signal: AbortSignal): Promise<readonly PublishResult[]> {
    const aws = this.#aws;
    if (aws === undefined || this.#closed) {
      const error = unavailable("There are no clients: connect first.");
      return batch.map(() => ({ ok: false, error, sent: "no" }));
    }
    return publish({ aws, admin: this.admin, fifo: this.#settings.fifo, now: () => this.#context.clock.now() }, batch, signal);
  }

  subscribe(request: SubscribeRequest, signal: AbortSignal): Promise<Subscription> {
    const session = {
      aws: this.#open(),
      admin: this.admin,
      settings: this.#settings,
      context: this.#context,
      subscriptions: this.#subscriptions,
    };
    return openSubscription(session, request, signal);
  }

  async replay(): Promise<never> {
    throw absent("history to replay");
  }

  /** A queue that is not there is as good an answer as any; being forbidden to look for it is one too. */
  async ping(signal: AbortSignal): Promise<void> {
    const { sqs, q } = this.#open();
    const name = `${this.#settings.namePrefix}brokerkit-ping`;
    try {
      await sqs.send(new q.GetQueueUrlCommand({ QueueName: name }), newCall(signal));
    } catch (error) {
      const { code } = classify(error);
      if (code !== "NOT_FOUND" && code !== "FORBIDDEN") throw error;
    }
  }

  /** Nobody asks anything at the moment, so somebody has to: is the server still there? */
  async #look(): Promise<void> {
    if (this.#closed || this.#looking) return;
    this.#looking = true;
    try {
      await this.ping(NEVER);
    } catch (error) {
      if (!this.#closed && classify(error).code === "UNAVAILABLE") this.#context.down(error);
    } finally {
      this.#looking = false;
    }
  }

  classify(error: unknown): Classified {
    return classify(error);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const { clock } = this.#context;
    const late = Promise.withResolvers<void>();
    const timer = clock.timer(CLOSE_MS, late.resolve);
    await Promise.race([Promise.allSettled([...this.#subscriptions].map((one) => one.close())), late.promise]);
    timer.cancel();
    this.#aws?.destroy();
  }

  #open(): Aws {
    if (this.#aws === undefined || this.#closed) throw unavailable("There are no clients: connect first.");
    return this.#aws;
  }
}
