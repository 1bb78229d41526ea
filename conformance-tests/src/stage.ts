import { type Broker, defineTopic, type Schema, type SubscribeOptions, type Subscription, type TopicOptions } from "brokerkit";
import type { ConnectOptions, Context } from "./context.ts";
import type { Recorded } from "./recording.ts";
import { type AnyTopic, Sink, type SinkHandler } from "./sink.ts";

/** A broker, a fresh topic and one subscriber: what most cases begin with. */
export interface Stage {
  readonly broker: Broker;
  readonly wire: Recorded;
  readonly name: string;
  readonly topic: AnyTopic;
  readonly sink: Sink;
  readonly subscription: Subscription;
}

export interface StageOptions extends ConnectOptions {
  readonly seed?: string | undefined;
  readonly define?: Partial<TopicOptions<Schema<unknown, unknown>>> | undefined;
  /** Added to `t.way()`. */
  readonly consume?: Partial<SubscribeOptions> | undefined;
}

/** Subscribes before anything is published, so that every message is seen on every backend. */
export async function stage(t: Context, o: StageOptions = {}, handle?: SinkHandler): Promise<Stage> {
  const { seed, define, consume, ...connect } = o;
  const { broker, wire } = await t.record(connect);
  const name = t.topic(seed);
  const topic = open(broker, name, define);
  const sink = new Sink();
  const way = { ...t.way(), ...consume } as SubscribeOptions;
  const subscription = await sink.join(topic, way, handle);
  return { broker, wire, name, topic, sink, subscription };
}

/** A topic without a schema: whatever the codec gives. */
export function open(broker: Broker, name: string, define: Partial<TopicOptions<Schema<unknown, unknown>>> = {}): AnyTopic {
  return broker.topic(defineTopic(name, { schema: anything, ...define }));
}

/** Accepts every payload as it is. */
export const anything: Schema<unknown, unknown> = schema((value) => value);

/** A synchronous schema from a function that returns the output or throws what is wrong. */
export function schema<Input, Output = Input>(read: (value: unknown) => Output): Schema<Input, Output> {
  return {
    "~standard": {
      version: 1,
      vendor: "brokerkit-conformance",
      validate: (value) => {
        try {
          return { value: read(value) };
        } catch (error) {
          return { issues: [{ message: error instanceof Error ? error.message : String(error) }] };
        }
      },
    },
  };
}
