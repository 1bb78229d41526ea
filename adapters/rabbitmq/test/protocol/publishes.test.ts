import { EventEmitter } from "node:events";
import type { ConfirmChannel } from "amqplib";
import type { PublishResult } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { classify } from "../../src/errors.ts";
import { checkClient, outletOf } from "../../src/protocol/inside.ts";
import { type Outgoing, Publishes, type Route } from "../../src/protocol/publishes.ts";
import { written } from "./wire.ts";

const FRAME_MAX = 4_096;
const CHANNEL = 2;
const missing = (): Error => new Error("there is no such queue");
const topic: Route = { exchange: "orders", routingKey: "orders", mandatory: false, missing };
const inbox: Route = { exchange: "", routingKey: "orders.billing", mandatory: true, missing };

/** A channel as the client has it, with nobody at its other end. */
class Stage {
  readonly frames: Buffer[] = [];
  readonly #emitter = new EventEmitter();
  readonly channel: ConfirmChannel;
  readonly publishes: Publishes;

  constructor() {
    const write = (frames: Buffer): boolean => this.frames.push(frames) > 0;
    const channels: unknown[] = [{ buffer: { write } }, null];
    const connection = { stream: { resetAndDestroy: (): void => {} }, frameMax: FRAME_MAX, channels };
    const channel = Object.assign(this.#emitter, { ch: CHANNEL, connection });
    channels.push({ channel, buffer: { write } });
    this.channel = channel as unknown as ConfirmChannel;
    // As the client's own: it would answer callbacks that there are none of.
    this.channel.on("ack", () => this.#unexpected());
    this.channel.on("nack", () => this.#unexpected());
    this.publishes = new Publishes(this.channel);
  }

  #unexpected(): never {
    throw new Error("the client's own listener was called");
  }

  answer(kind: "ack" | "nack", deliveryTag: number, multiple = false): void {
    this.#emitter.emit(kind, { deliveryTag, multiple });
  }

  comesBack(route: Route, messageId: string): void {
    this.#emitter.emit("return", { fields: { routingKey: route.routingKey }, properties: { messageId } });
  }

  /** Sends these, and gives what has settled so far. */
  send(ids: readonly string[], route = topic): { readonly outcomes: () => readonly string[] | undefined } {
    let settled: readonly PublishResult[] | undefined;
    void this.publishes
      .send(ids.length, (n) => message(ids[n] as string, route))
      .then((results) => {
        settled = results;
      });
    return { outcomes: () => settled?.map(told) };
  }
}

function message(messageId: string, route: Route): Outgoing {
  if (messageId === "refused") throw new Error("refused");
  return { route, properties: { headers: [], messageId }, body: Buffer.from(messageId) };
}

function told(result: PublishResult): string {
  return result.ok ? "ok" : `${(result.error as Error).message.slice(0, 30)} ${result.sent}`;
}

const soon = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe("answers", () => {
  test("for single numbers and for ranges, in any order, each find their message", async () => {
    const stage = new Stage();
    const [one, two, three] = [stage.send(["1", "2", "3"]), stage.send(["4", "5"]), stage.send(["6", "7"])];
    expect(written(stage.frames, FRAME_MAX).map(({ content }) => content.toString())).toEqual(["1", "2", "3", "4", "5", "6", "7"]);
    stage.answer("ack", 5);
    stage.answer("nack", 2);
    await soon();
    expect([one, two, three].map(({ outcomes }) => outcomes())).toEqual([undefined, undefined, undefined]);
    stage.answer("ack", 4, true);
    stage.answer("nack", 7, true);
    await soon();
    const refused = "The server has refused the mes maybe";
    expect(one.outcomes()).toEqual(["ok", refused, "ok"]);
    expect(two.outcomes()).toEqual(["ok", "ok"]);
    expect(three.outcomes()).toEqual([refused, refused]);
  });

  test("are not moved by messages that were not sent", async () => {
    const stage = new Stage();
    const [one, two] = [stage.send(["refused", "1", "refused", "2"]), stage.send(["3"])];
    const none = stage.send(["refused"]);
    await soon();
    expect(none.outcomes()).toEqual(["refused no"]);
    stage.answer("nack", 2);
    stage.answer("ack", 1);
    await soon();
    expect(one.outcomes()).toEqual(["refused no", "ok", "refused no", "The server has refused the mes maybe"]);
    expect(two.outcomes()).toBeUndefined();
    stage.answer("ack", 3);
    await soon();
    expect(two.outcomes()).toEqual(["ok"]);
  });

  test("in any order settle each message once and as it was answered", async () => {
    for (let round = 0; round < 50; round++) {
      const stage = new Stage();
      const calls = Array.from({ length: 4 }, (_, call) => stage.send(Array.from({ length: 5 + call * 9 }, (_, n) => `${call}-${n}`)));
      const count = written(stage.frames, FRAME_MAX).length;
      const expected: string[] = new Array(count);
      const open = new Set(expected.keys());
      while (open.size > 0) {
        const at = [...open][Math.floor(Math.random() * open.size)] as number;
        const [kind, many] = [Math.random() < 0.8 ? "ack" : "nack", Math.random() < 0.3] as const;
        for (const n of many ? [...open].filter((one) => one <= at) : [at]) {
          expected[n] = kind === "ack" ? "ok" : "The server has refused the mes maybe";
          open.delete(n);
        }
        stage.answer(kind, at + 1, many);
      }
      await soon();
      expect(calls.flatMap(({ outcomes }) => outcomes())).toEqual(expected);
    }
  });

  test("for what came back say that there is no such queue, for as many as came back", async () => {
    const stage = new Stage();
    const sent = stage.send(["1", "2", "2", "3"], inbox);
    stage.comesBack(inbox, "2");
    stage.comesBack(inbox, "3");
    stage.answer("ack", 4, true);
    await soon();
    expect(sent.outcomes()).toEqual(["ok", "there is no such queue no", "ok", "there is no such queue no"]);
  });
});

describe("the end of the channel", () => {
  test("leaves what has no answer in doubt, and nothing more is sent", async () => {
    const stage = new Stage();
    const sent = [stage.send(["1", "2"]), stage.send(["3"])];
    stage.answer("ack", 2);
    stage.publishes.fail(new Error("it broke"));
    const { length } = stage.frames;
    const late = stage.send(["4"]);
    await soon();
    expect(sent.map(({ outcomes }) => outcomes())).toEqual([["it broke maybe", "ok"], ["it broke maybe"]]);
    expect(late.outcomes()).toEqual(["The channel was closed before  no"]);
    expect(stage.frames).toHaveLength(length);
  });
});

describe("the client", () => {
  const thrown = (run: () => unknown): unknown => {
    try {
      return run();
    } catch (error) {
      return classify(error);
    }
  };

  test("that is another one than the driver knows is refused by name", () => {
    const { channel } = new Stage();
    expect(thrown(() => checkClient(channel as never))).toBeUndefined();
    const known = channel.connection as unknown as Record<string, unknown>;
    for (const name of Object.keys(known)) {
      const other = { connection: { ...known, [name]: undefined } };
      expect(thrown(() => checkClient(other as never))).toEqual({ code: "UNSUPPORTED", retryable: false });
      expect(() => checkClient(other as never)).toThrow(/package\.json/);
    }
  });

  test("whose channel has been closed, even where another one has its number, is not written to", () => {
    const { channel } = new Stage();
    const { channels } = channel.connection as unknown as { channels: unknown[] };
    for (const now of [null, { channel: new EventEmitter(), buffer: { write: () => true } }]) {
      channels[CHANNEL] = now;
      expect(thrown(() => outletOf(channel))).toEqual({ code: "UNAVAILABLE", retryable: true });
    }
  });
});
