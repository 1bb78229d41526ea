import type { Delivery, Schema, SubscribeOptions, Subscription, Topic } from "brokerkit";
import { AssertionFailed } from "./assert.ts";
import { now, pass, until } from "./wait.ts";

export type AnyTopic = Topic<Schema<unknown, unknown>>;

/** One handler run, as it happened. Nothing is merged or dropped: duplicates are two facts. */
export interface Fact {
  readonly member: string;
  readonly id: string;
  readonly key: string | undefined;
  readonly payload: unknown;
  readonly attempt: number;
  readonly redelivered: boolean;
  readonly started: number;
  ended: number | undefined;
  readonly delivery: Delivery<unknown>;
}

export type SinkHandler = (message: Delivery<unknown>, fact: Fact) => void | Promise<void>;

/** Collects the handler runs of one or several subscriptions. */
export class Sink {
  readonly facts: Fact[] = [];
  /** Handlers at work now, and the most there ever were. */
  running = 0;
  peak = 0;
  #members = 0;
  /** A property that failed inside a handler: core would take it for a failed message. */
  #failed: AssertionFailed | undefined;

  /** Joins as one more member, by group or broadcast. */
  async join(topic: AnyTopic, o: SubscribeOptions, handle: SinkHandler = () => {}): Promise<Subscription> {
    this.#members += 1;
    const handler = this.handler(`m${this.#members}`, handle);
    return await subscribeTo(topic, o, handler);
  }

  handler(member: string, handle: SinkHandler): (message: Delivery<unknown>) => Promise<void> {
    return async (message) => {
      const fact = this.note(message, member);
      this.running += 1;
      this.peak = Math.max(this.peak, this.running);
      try {
        await handle(message, fact);
      } catch (error) {
        if (error instanceof AssertionFailed) this.#failed ??= error;
        throw error;
      } finally {
        this.running -= 1;
        fact.ended = now();
      }
    };
  }

  note(message: Delivery<unknown>, member: string): Fact {
    const fact: Fact = {
      member,
      id: message.id,
      key: message.key,
      payload: message.payload,
      attempt: message.attempt,
      redelivered: message.redelivered,
      started: now(),
      ended: undefined,
      delivery: message,
    };
    this.facts.push(fact);
    return fact;
  }

  get payloads(): readonly string[] {
    return this.facts.map((fact) => String(fact.payload));
  }

  of(payload: unknown): readonly Fact[] {
    return this.facts.filter((fact) => fact.payload === payload);
  }

  async #until(condition: () => boolean, what: () => string, ms: number | undefined): Promise<void> {
    await until(
      () => {
        if (this.#failed !== undefined) throw this.#failed;
        return condition();
      },
      what,
      ms,
    );
  }

  /** Until at least `count` handler runs have begun. */
  async reaches(count: number, ms?: number): Promise<void> {
    await this.#until(
      () => this.facts.length >= count,
      () => `${count} handler runs; there were ${this.facts.length}: ${this.payloads.slice(-12).join(", ")}`,
      ms,
    );
  }

  /** Until each of these payloads was seen. */
  async sees(payloads: readonly unknown[], ms?: number): Promise<void> {
    let seen = new Set<unknown>();
    const missing = (): unknown[] => payloads.filter((payload) => !seen.has(payload));
    await this.#until(
      () => {
        if (this.facts.length < seen.size) return false;
        seen = new Set(this.facts.map((fact) => fact.payload));
        return seen.size >= payloads.length && missing().length === 0;
      },
      () => `all of ${payloads.length} messages; missing ${missing().length}: ${missing().slice(0, 8).join(", ")}`,
      ms,
    );
  }

  /** Until nothing runs any more. */
  async rests(ms?: number): Promise<void> {
    await this.#until(
      () => this.running === 0,
      () => `handlers to end; ${this.running} run`,
      ms,
    );
  }

  /** Lets `ms` pass in which something could still arrive: silence is what is being proved. */
  async listens(ms: number): Promise<void> {
    await pass(ms);
  }
}

export async function subscribeTo(
  topic: AnyTopic,
  o: SubscribeOptions,
  handler: (message: Delivery<unknown>) => void | Promise<void>,
): Promise<Subscription> {
  return "group" in o ? await topic.subscribe(o, handler) : await topic.subscribe(o, handler);
}
