import { unsupported } from "./capability/unsupported.ts";
import { deadTopic } from "./dead-letter/letter.ts";
import type { DeadLettersWiring } from "./dead-letters.ts";
import { GroupDeadLetters } from "./dead-letters.ts";
import type { BoundTopic } from "./definition.ts";
import type { Admin } from "./driver/driver.ts";
import { fromDriver } from "./errors.ts";
import { checkGroupName } from "./options.ts";
import { encodePosition, type Position, type Start } from "./position.ts";
import { timeoutSignal } from "./primitives/abort.ts";
import { wireStart } from "./start.ts";
import type { DeadLetters, Group, Lag } from "./surface.ts";

const ADMIN_MS = 15_000;

/** A handle for one group of a topic. */
export class TopicGroup implements Group {
  readonly name: string;
  readonly deadLetters: DeadLetters;
  readonly #wiring: DeadLettersWiring;
  readonly #topic: BoundTopic;

  constructor(wiring: DeadLettersWiring, topic: BoundTopic, name: string) {
    checkGroupName(name);
    this.name = name;
    this.deadLetters = new GroupDeadLetters(wiring, topic, name);
    this.#wiring = wiring;
    this.#topic = topic;
  }

  async lag(): Promise<Lag> {
    await this.#topic.ready();
    const { lag } = this.#topic.capabilities;
    if (lag.count === "none") throw unsupported("lag", this.#wiring.adapter, this.#topic.name);
    const found = await this.#admin("read the lag of", (admin, signal) => admin.lag(this.#topic.wire, this.name, signal));
    return { messages: found.count, unit: lag.unit, kind: lag.count, inFlight: found.inFlight, oldestMs: found.oldestMs };
  }

  async position(): Promise<Position> {
    await this.#topic.ready();
    if (!this.#topic.capabilities.places.perDelivery) throw unsupported("places", this.#wiring.adapter, this.#topic.name);
    const cut = await this.#admin("read a position of", (admin, signal) => admin.position(this.#topic.wire, this.name, signal));
    return encodePosition(this.#wiring.adapter, this.#topic.wire, cut);
  }

  async seek(to: Start): Promise<void> {
    await this.#topic.ready();
    if (this.#topic.capabilities.seek === "none") throw unsupported("seek", this.#wiring.adapter, this.#topic.name);
    const start = wireStart(to, "seek", this.#wiring.adapter, this.#topic, "to");
    await this.#admin("move a group of", (admin, signal) => admin.seek(this.#topic.wire, this.name, start, signal));
  }

  async delete(): Promise<void> {
    await this.#topic.ready();
    await this.#admin("delete a group of", (admin, signal) => admin.deleteGroup(this.#topic.wire, this.name, signal));
    await this.#admin("delete the dead letters of", (admin, signal) => admin.deleteTopic(deadTopic(this.#topic.wire, this.name), signal));
  }

  #admin<T>(doing: string, call: (admin: Admin, signal: AbortSignal) => Promise<T>): Promise<T> {
    return administer(this.#wiring, this.#topic.wire, doing, call);
  }
}

/** One bounded administrative call, its error translated. */
export async function administer<T>(
  wiring: Pick<DeadLettersWiring, "connection" | "clock" | "adapter">,
  topic: string | undefined,
  doing: string,
  call: (admin: Admin, signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const { connection, clock, adapter } = wiring;
  await connection.ready();
  const bound = timeoutSignal(clock, ADMIN_MS);
  try {
    return await call(connection.driver.admin, bound.signal);
  } catch (raw) {
    const error = fromDriver(connection.driver, raw, { adapter, doing, topic });
    if (error.code === "UNAVAILABLE") connection.failed(error);
    throw error;
  } finally {
    bound.done();
  }
}
