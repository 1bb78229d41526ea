import type { Capabilities } from "./driver/capabilities.ts";
import type { WireHeader } from "./driver/wire.ts";
import { invalidArgument } from "./errors.ts";
import type { Codec } from "./message.ts";
import { checkChoice, checkGroupName, checkKeys, checkNumber, checkTopicName } from "./options.ts";
import type { In, Schema } from "./schema.ts";

/** Adapters add their own topic options here, under their name, by interface augmentation of `brokerkit`. */
// biome-ignore lint/suspicious/noEmptyInterface: augmented by adapters
export interface NativeTopicOptions {}

export interface TopicOptions<S extends Schema> {
  schema: S;
  /** Computes the ordering key of a payload; `PublishOptions.key` wins. */
  key?(payload: In<S>): string;
  /** What order the topic's messages keep, published and handled. Default `"key"`. `"topic"`: it is created with one shard. */
  order?: "key" | "topic" | "none" | undefined;
  /**
   * Shards to create the topic with: the backend's own, or made by core where the backend can share them out. Elsewhere provisioning says that
   * it has no effect. The number of a topic never changes.
   */
  partitions?: number | undefined;
  retention?: { ms?: number | undefined; bytes?: number | undefined; compact?: boolean | undefined } | undefined;
  /** Groups created with the topic: they get everything published from then on. */
  groups?: readonly string[] | undefined;
  /** Default `"json"`. */
  codec?: "json" | "bytes" | Codec | undefined;
  native?: NativeTopicOptions | undefined;
}

/** A topic as a value, shared between services. */
export interface TopicDefinition<S extends Schema = Schema> extends TopicOptions<S> {
  readonly name: string;
}

const KEYS = ["schema", "key", "order", "partitions", "retention", "groups", "codec", "native"] as const;

/** Defines a topic. Throws `INVALID_ARGUMENT` for names and options that no backend could take. */
export function defineTopic<S extends Schema>(name: string, options: TopicOptions<S>): TopicDefinition<S> {
  checkTopicName(name);
  if (typeof options?.schema?.["~standard"]?.validate !== "function") {
    throw invalidArgument(
      "schema",
      `defineTopic("${name}"): give a schema, any Standard Schema such as a zod or valibot one: { schema: Order }.`,
    );
  }
  const definition = { ...options, name };
  checkDefinition("defineTopic", definition);
  return Object.freeze(definition);
}

/** Throws `INVALID_ARGUMENT` for options of a topic that are unknown or wrong. */
export function checkDefinition(where: string, definition: Partial<TopicDefinition>): void {
  checkKeys(where, definition, [...KEYS, "name"]);
  const { name, key, order, partitions, retention, groups } = definition;
  const at = `${where}("${name}")`;
  if (key !== undefined && typeof key !== "function") {
    throw invalidArgument("key", `${at}: key must be a function of the payload, such as (order) => order.customer.`);
  }
  checkChoice("order", order, ["key", "topic", "none"]);
  checkNumber("partitions", partitions, 1, true);
  if (order === "topic" && partitions !== undefined && partitions > 1) {
    throw invalidArgument("partitions", `${at}: order: "topic" needs one shard, as each has an order of its own; leave partitions out.`);
  }
  checkKeys("retention", retention ?? {}, ["ms", "bytes", "compact"]);
  checkNumber("retention.ms", retention?.ms, 1);
  checkNumber("retention.bytes", retention?.bytes, 1);
  if (groups !== undefined && !Array.isArray(groups)) throw invalidArgument("groups", `${at}: groups must be an array of names.`);
  for (const group of groups ?? []) checkGroupName(group);
}

/** A topic as the two lines see it: defined by the application, named for the backend, bound to one broker. */
export interface BoundTopic {
  /** As defined. */
  readonly name: string;
  /** As the backend knows it: with the broker's prefix. */
  readonly wire: string;
  readonly schema: Schema | undefined;
  readonly codec: Codec;
  readonly order: "key" | "topic" | "none";
  readonly keyOf: ((payload: unknown) => string) | undefined;
  /** Headers that every message of this topic carries. */
  readonly extraHeaders: readonly WireHeader[];
  /** What this topic can do; the broker's record until `ready` has resolved. */
  readonly capabilities: Capabilities;
  /** `undefined`: connected and provisioned. Otherwise resolves when it is; rejects when it can't be. */
  ready(): Promise<void> | undefined;
}
