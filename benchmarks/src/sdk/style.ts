import type { Schema, TopicDefinition } from "brokerkit";
import { indexOf, type Messages } from "../measure/messages.ts";

/** What a column of brokerkit publishes: how a message of the workload becomes a payload, and back. */
export interface Style {
  /** Calls of `publishAll` and `subscribeBatches` instead of one message at a time. */
  readonly batch: boolean;
  readonly codec: NonNullable<TopicDefinition["codec"]>;
  readonly schema: Schema<unknown>;
  readonly payload: (messages: Messages, index: number) => unknown;
  readonly index: (payload: unknown) => number;
}

/** A Standard Schema by hand, so that what is measured is what brokerkit does with one. */
function schemaOf(fits: (value: unknown) => boolean): Schema<unknown> {
  const issues = [{ message: "not what this topic carries" }];
  return { "~standard": { version: 1, vendor: "benchmark", validate: (value) => (fits(value) ? { value } : { issues }) } };
}

interface Json {
  readonly index: number;
  readonly filling: string;
}

export const anything: Schema<unknown> = schemaOf(() => true);

export const checked: Schema<unknown> = schemaOf((value) => {
  const json = value as Json | null;
  return typeof json === "object" && json !== null && Number.isInteger(json.index) && typeof json.filling === "string";
});

export const bytes: Style = {
  batch: false,
  codec: "bytes",
  schema: anything,
  payload: (messages, index) => messages.body(index),
  index: (payload) => indexOf(payload as Uint8Array),
};

export const json: Style = {
  batch: false,
  codec: "json",
  schema: anything,
  payload: (messages, index) => messages.json(index),
  index: (payload) => (payload as Json).index,
};
