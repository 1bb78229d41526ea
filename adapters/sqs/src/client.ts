import type { SNSClient } from "@aws-sdk/client-sns";
import type { SQSClient } from "@aws-sdk/client-sqs";
import type { Settings } from "./options.ts";
import { Wire } from "./protocol/http.ts";
import { SignedRequests } from "./protocol/signed.ts";

type SqsModule = typeof import("@aws-sdk/client-sqs");
type SnsModule = typeof import("@aws-sdk/client-sns");

/** Long polls have sockets of their own, so that nothing waits behind them. */
const SOCKETS = 64;
const POLL_SOCKETS = 1_000;

/** The SDK's clients, loaded when first needed and without retries of their own, and what is asked so often that it goes beside them. */
export class Aws {
  readonly sqs: SQSClient;
  readonly sns: SNSClient;
  /** The commands. */
  readonly q: SqsModule;
  readonly n: SnsModule;
  readonly queues: SignedRequests;
  readonly polls: SignedRequests;
  readonly topics: SignedRequests;
  readonly #wires: readonly Wire[];

  private constructor(q: SqsModule, n: SnsModule, settings: Settings, idleClosed: () => void) {
    const { region, endpoint, credentials } = settings;
    const wire = new Wire(settings, SOCKETS, idleClosed);
    const polling = new Wire(settings, POLL_SOCKETS, idleClosed);
    const config = {
      maxAttempts: 1,
      requestHandler: wire as never,
      ...(region === undefined ? {} : { region }),
      ...(endpoint === undefined ? {} : { endpoint }),
      ...(credentials === undefined ? {} : { credentials }),
    };
    this.q = q;
    this.n = n;
    this.sqs = new q.SQSClient({ ...config, useQueueUrlAsEndpoint: false });
    // One look-up of credentials serves both.
    this.sns = new n.SNSClient({ ...config, credentials: this.sqs.config.credentials, region: this.sqs.config.region });
    this.queues = new SignedRequests(wire, this.sqs.config);
    this.polls = new SignedRequests(polling, this.sqs.config);
    this.topics = new SignedRequests(wire, this.sns.config);
    this.#wires = [wire, polling];
  }

  /** `idleClosed`: a connection that nobody used has gone. Servers do that when they are bored, and when they die. */
  static async open(settings: Settings, idleClosed: () => void): Promise<Aws> {
    // One after the other would load what they share only once as well, but later.
    const [q, n] = await Promise.all([import("@aws-sdk/client-sqs"), import("@aws-sdk/client-sns")]);
    return new Aws(q, n, settings, idleClosed);
  }

  destroy(): void {
    for (const one of [this.sqs, this.sns, ...this.#wires]) one.destroy();
  }
}
