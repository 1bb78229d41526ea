import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { WireRecord } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { at, fresh, ids, outcomes, proxied, read, record, records, replay, soon, store, topicOn, usualServer } from "./stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await usualServer();
});

const opened = (partitions?: number) => topicOn(at(server), { partitions });
const key = (n: number): Buffer => Buffer.from(`k${n}`);

describe("records", () => {
  test("come back whole, through the topic and through a group's inbox", async () => {
    const { driver, topic } = await opened();
    const { take } = await read(driver, topic, "g");
    const headers: WireRecord["headers"] = [
      ["text", Buffer.from("é")],
      ["text", Buffer.from("again")],
      ["bytes", Buffer.from([0, 255])],
    ];
    const sent = [
      record(topic, "1", { key: Buffer.from([0, 159]), headers, body: Buffer.from([0, 159]), publishedAt: 1_700_000_000_001 }),
      record(topic, "2", { body: null }),
      record(topic, "3", { body: Buffer.alloc(200_000, 7), target: { topic, group: "g" }, failures: 4 }),
    ];
    await store(driver, sent);
    const got = (await take(3)).sort((a, b) => Number(a.id) - Number(b.id));
    expect(
      got.map(({ id, key: own, headers: all, body, publishedAt, inbox, failures }) => [id, own, all, body, publishedAt, inbox, failures]),
    ).toEqual(
      sent.map(({ id, key: own, headers: all, body, publishedAt, failures = 0 }, n) => [
        id,
        own,
        all,
        body,
        publishedAt,
        n === 2,
        failures,
      ]),
    );
  });

  test("of several targets in one call are answered one by one", async () => {
    const { driver, topic } = await opened();
    const results = await driver.publish(
      [
        record(topic, "1"),
        record(fresh(), "2"),
        record(topic, "3", { target: { topic, group: "nobody" } }),
        record(topic, "4"),
        record(topic, "5", { body: Buffer.alloc(6_000_000) }),
      ],
      soon(),
    );
    expect(outcomes(driver, results)).toEqual(["ok", "NOT_FOUND no", "NOT_FOUND no", "ok", "TOO_LARGE no"]);
    expect(ids(await (await replay(driver, topic, { kind: "earliest" })).all())).toEqual(["1", "4"]);
  });

  test("are delivered at the places that their receipts say", async () => {
    const { driver, topic } = await opened(3);
    const { take } = await read(driver, topic, "g");
    const sent = Array.from({ length: 60 }, (_, n) => record(topic, String(n), { key: key(n % 7) }));
    const results = await store(driver, sent);
    const places = new Map((await take(60)).map(({ id, place }) => [id, place]));
    for (const [n, result] of results.entries()) expect(result).toEqual({ ok: true, place: places.get(String(n)) });
    expect(new Set([...places.values()].map((place) => place?.split(":")[0])).size).toBeGreaterThan(1);
  });

  test("of one key keep their order in a call; where there is one partition, those of all keys do", async () => {
    for (const partitions of [undefined, 1]) {
      const { driver, topic } = await opened(partitions);
      const names = Array.from({ length: 500 }, (_, n) => n);
      await store(
        driver,
        names.map((n) => record(topic, String(n), { key: key(n % 40) })),
      );
      const stored = ids(await (await replay(driver, topic, { kind: "earliest" })).all()).map(Number);
      for (let k = 0; k < 40; k++) expect(stored.filter((n) => n % 40 === k)).toEqual(names.filter((n) => n % 40 === k));
      if (partitions === 1) expect(stored).toEqual(names);
    }
  });
});

describe("a call", () => {
  test("that was aborted before has sent nothing", async () => {
    const { driver, topic } = await opened();
    expect(outcomes(driver, await driver.publish(records(topic, "1", "2"), AbortSignal.abort()))).toEqual(Array(2).fill("UNAVAILABLE no"));
  });

  test("without a connection fails at once, and works again when there is one", async () => {
    const proxy = await proxied(server);
    const { driver, topic, downs } = await topicOn(at(server, proxy));
    await store(driver, records(topic, "1"));
    proxy.refuse();
    proxy.cut();
    const began = performance.now();
    const [first] = outcomes(driver, await driver.publish(records(topic, "2"), soon()));
    expect(["UNAVAILABLE no", "UNAVAILABLE maybe"]).toContain(first);
    for (let n = 0; n < 5; n++) expect(outcomes(driver, await driver.publish(records(topic, "3"), soon()))).toEqual(["UNAVAILABLE no"]);
    expect(ranFor(began)).toBeLessThan(2_000);
    expect(downs.length).toBeGreaterThan(0);
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "4"));
  });

  test("that nobody answers ends soon after its signal, in doubt, and the next one goes over a new connection", async () => {
    const proxy = await proxied(server);
    const { driver, topic } = await topicOn(at(server, proxy));
    await store(driver, records(topic, "1"));
    proxy.drop("down");
    const began = performance.now();
    expect(outcomes(driver, await driver.publish(records(topic, "2"), soon(300)))).toEqual(["UNAVAILABLE maybe"]);
    expect(ranFor(began)).toBeLessThan(1_300);
    await proxy.heal();
    await driver.connect(soon());
    await store(driver, records(topic, "3"));
  });
});
