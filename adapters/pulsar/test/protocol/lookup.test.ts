import { describe, expect, test } from "vitest";
import type { Command, CommandInit } from "../../src/protocol/wire/command.ts";
import { CommandLookupTopicResponse_LookupType as Response, ServerError } from "../../src/protocol/wire/pulsar.generated.ts";
import { startFakeBroker } from "./fake-broker.ts";
import { client, message, produce, soon } from "./stage.ts";

const topic = "persistent://public/default/fake";

function answer(
  command: Command,
  lookup: (requestId: number) => Extract<CommandInit, { case: "lookupTopicResponse" }>["value"],
): CommandInit[] {
  const { requestId = 0 } = command.value as { requestId?: number };
  if (command.case === "partitionMetadata")
    return [{ case: "partitionMetadataResponse", value: { requestId, partitions: 0, response: 0 } }];
  if (command.case === "lookupTopic") return [{ case: "lookupTopicResponse", value: lookup(requestId) }];
  if (command.case === "producer") return [{ case: "producerSuccess", value: { requestId, producerName: "fake-1", lastSequenceId: -1n } }];
  if (command.case === "closeProducer") return [{ case: "success", value: { requestId } }];
  return [];
}

describe("a lookup", () => {
  test("follows redirects to the broker that serves the topic, and says that it was sent", async () => {
    const last = await startFakeBroker((command) =>
      answer(command, (requestId) => ({ requestId, response: Response.Connect, brokerServiceUrl: `pulsar://${last.host}:${last.port}` })),
    );
    const first = await startFakeBroker((command) =>
      answer(command, (requestId) => ({
        requestId,
        response: Response.Redirect,
        authoritative: true,
        brokerServiceUrl: `pulsar://${last.host}:${last.port}`,
      })),
    );
    await produce(client(first, { tunnel: false }), topic);
    expect(first.commands.map((command) => command.case)).toEqual(["connect", "partitionMetadata", "lookupTopic"]);
    expect(last.commands.map((command) => command.case)).toEqual(["connect", "lookupTopic", "producer"]);
    expect(last.commands[1]).toMatchObject({ value: { authoritative: true } });
  });

  test("gives up on brokers that send it round in circles", async () => {
    const broker = await startFakeBroker((command) =>
      answer(command, (requestId) => ({
        requestId,
        response: Response.Redirect,
        brokerServiceUrl: `pulsar://${broker.host}:${broker.port}`,
      })),
    );
    await expect(produce(client(broker, { tunnel: false }), topic)).rejects.toMatchObject({ code: "ProtocolError" });
    expect(broker.commands.filter((command) => command.case === "lookupTopic")).toHaveLength(21);
  });

  test("goes through the proxy where that is what the broker wants", async () => {
    const proxy = await startFakeBroker((command) =>
      answer(command, (requestId) => ({
        requestId,
        response: Response.Connect,
        brokerServiceUrl: "pulsar://broker-7.internal:6650",
        proxyThroughServiceUrl: true,
      })),
    );
    await produce(client(proxy, { tunnel: false }), topic);
    const greetings = proxy.commands.filter((command) => command.case === "connect");
    expect(greetings.map(({ value }) => value.proxyToBrokerUrl)).toEqual(["", "broker-7.internal:6650"]);
  });

  test("says what the broker says, and what it lacks", async () => {
    const refusing = await startFakeBroker((command) =>
      answer(command, (requestId) => ({
        requestId,
        response: Response.Failed,
        error: ServerError.ServiceNotReady,
        message: "not yet\n\tat java",
      })),
    );
    await expect(produce(client(refusing), topic)).rejects.toMatchObject({ code: "ServiceNotReady", message: "ServiceNotReady: not yet" });
    const homeless = await startFakeBroker((command) => answer(command, (requestId) => ({ requestId, response: Response.Connect })));
    await expect(produce(client(homeless, { tunnel: false }), topic)).rejects.toMatchObject({ code: "ConnectError" });
  });

  test("the next host of the service URL is tried when one is away", async () => {
    const broker = await startFakeBroker((command) =>
      answer(command, (requestId) => ({
        requestId,
        response: Response.Connect,
        brokerServiceUrl: `pulsar://${broker.host}:${broker.port}`,
      })),
    );
    for (let n = 0; n < 4; n++) {
      const transport = client(broker, { serviceUrl: `pulsar://127.0.0.1:1,${broker.host}:${broker.port}` });
      expect(await transport.connect(soon())).toMatchObject({ version: "Fake" });
    }
  });
});

describe("a broker that is not as it should be", () => {
  const here = (requestId: number): { requestId: number; response: typeof Response.Connect } => ({ requestId, response: Response.Connect });

  test("too old a protocol is refused", async () => {
    const old = await startFakeBroker(() => [], 12);
    await expect(client(old).connect(soon())).rejects.toMatchObject({ code: "Unsupported" });
  });

  test("a receipt out of turn ends the connection, and nothing is taken for stored", async () => {
    const broker = await startFakeBroker((command) => {
      if (command.case === "send") return [{ case: "sendReceipt", value: { producerId: command.value.producerId, sequenceId: 9n } }];
      return answer(command, here);
    });
    const { producer, ends } = await produce(client(broker), topic);
    const [result] = await producer.send([message("a")], soon());
    expect(result).toMatchObject({ ok: false, sent: "maybe" });
    expect(ends).toHaveLength(1);
  });

  test.each([
    ["NotAllowedError", "no"],
    ["PersistenceError", "maybe"],
  ] as const)(
    "an entry refused with %s is sent: %s and ends the producer; what else was written is in doubt, the rest is not sent",
    async (code, sent) => {
      const broker = await startFakeBroker((command) => {
        if (command.case !== "send") return answer(command, here);
        const { producerId, sequenceId } = command.value;
        // It overtakes the receipts of those before.
        if (sequenceId !== 3n) return [];
        return [{ case: "sendError", value: { producerId, sequenceId, error: ServerError[code], message: "refused" } }];
      });
      const { producer, ends } = await produce(client(broker, { batching: { by: "none" } }), topic);
      const results = await producer.send(
        Array.from({ length: 600 }, (_, n) => message(`m${n}`)),
        soon(),
      );
      const told = results.map((result) => (result.ok ? "ok" : result.sent));
      expect(told.slice(0, 5)).toEqual(["maybe", "maybe", "maybe", sent, "maybe"]);
      expect(results[3]).toMatchObject({ error: { code } });
      expect(results[599]).toMatchObject({ ok: false, sent: "no" });
      expect(ends).toMatchObject([{ code }]);
    },
  );

  test("a duplicate that the broker dropped is stored, and said to be one", async () => {
    const all = 0xffff_ffff_ffff_ffffn;
    const broker = await startFakeBroker((command) => {
      if (command.case !== "send") return answer(command, here);
      const { producerId, sequenceId } = command.value;
      return [{ case: "sendReceipt", value: { producerId, sequenceId, messageId: { ledgerId: all, entryId: all } } }];
    });
    const { producer } = await produce(client(broker), topic);
    expect(await producer.send([message("a")], soon())).toMatchObject([{ ok: true, duplicate: true }]);
  });
});
