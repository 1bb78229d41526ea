import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import type { Coordination } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { nats } from "../../../src/index.ts";
import { api, at, fresh, open, plain, proxied, soon, startServer } from "../../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

async function registers(where: Pick<RunningBroker, "host" | "port"> = server): Promise<Coordination> {
  return (await open(nats(at(where)))).driver.coordination as Coordination;
}

const set = (own: Coordination, name: string, expected: string | undefined, text: string | Uint8Array) =>
  own.compareAndSet(name, expected, Buffer.from(text), soon());
const get = async (own: Coordination, name: string) => Buffer.from((await own.read(name, soon()))?.value ?? "nothing").toString();

test("a register is written only over the revision that was seen, and the first time only where there is nothing", async () => {
  const [one, two] = [await registers(), await registers()];
  const name = fresh();
  expect(await one.read(name, soon())).toBeUndefined();
  const first = await set(one, name, undefined, "1");
  expect(await two.read(name, soon())).toEqual({ value: Buffer.from("1"), revision: first });
  expect(await set(two, name, undefined, "2")).toBeUndefined();
  const second = await set(two, name, first, "2");
  expect(second).not.toBe(first);
  expect(await set(one, name, first, "3")).toBeUndefined();
  expect(await get(one, name)).toBe("2");
});

test("names and values are kept as they are, and no register is another", async () => {
  const own = await registers();
  const seed = fresh();
  const names = ["a", "a.b", "a..b", ".a", "a.", "a/b", "..", "A", `x${"y".repeat(300)}`].map((name) => `${seed}/${name}`);
  for (const name of names) await set(own, name, undefined, name);
  for (const name of names) expect(await get(own, name)).toBe(name);
  const [empty, large] = [`${seed}/empty`, `${seed}/large`];
  const bytes = Buffer.alloc(262_144, Buffer.from([0, 10, 13, 255, 128]));
  await set(own, empty, undefined, "");
  await set(own, large, undefined, bytes);
  expect((await own.read(empty, soon()))?.value).toEqual(Buffer.alloc(0));
  expect(bytes.equals((await own.read(large, soon()))?.value as Buffer)).toBe(true);
});

test("of twenty that write at once one is first, again and again", async () => {
  const all = await Promise.all(Array.from({ length: 20 }, () => registers()));
  const name = fresh();
  await Promise.all(
    all.map(async (own) => {
      for (let done = 0; done < 5; ) {
        const seen = await own.read(name, soon());
        const next = String(Number(Buffer.from(seen?.value ?? "0").toString()) + 1);
        if ((await set(own, name, seen?.revision, next)) !== undefined) done++;
      }
    }),
  );
  expect(await get(all[0] as Coordination, name)).toBe("100");
});

test("a write without an answer rejects in time, may have been made, and can't be made twice", async () => {
  const proxy = await proxied(server);
  const { driver } = await open(nats(at(proxy)));
  const cut = driver.coordination as Coordination;
  const other = await registers();
  const name = fresh();
  const first = await set(other, name, undefined, "1");
  proxy.drop("down");
  const began = performance.now();
  const error = await cut.compareAndSet(name, first, Buffer.from("2"), soon(300)).catch((raw: unknown) => raw);
  expect(ranFor(began)).toBeLessThan(1_300);
  expect(driver.classify(error)).toEqual({ code: "UNAVAILABLE", retryable: true });
  expect(await get(other, name)).toBe("2");
  expect(await set(other, name, first, "2")).toBeUndefined();
});

test("registers outlive the server's death, and topics", async () => {
  const own = await startServer();
  const before = await registers(own);
  const revision = await set(before, "orders/g", undefined, "kept");
  const { driver } = await open(nats(at(own)));
  await driver.admin.createTopic({ name: "orders" }, soon());
  await driver.admin.deleteTopic("orders", soon());
  await own.kill();
  await own.restart();
  const after = await registers(own);
  expect(await after.read("orders/g", soon())).toEqual({ value: Buffer.from("kept"), revision });
});

test("what can't be a register is said: a value beyond max_payload, a stream of others that keeps the subjects", async () => {
  const own = await startServer({ maxPayload: "65536" });
  const { driver } = await open(nats({ ...at(own), subjectPrefix: "app." }));
  const coordination = driver.coordination as Coordination;
  const large = await set(coordination, "a", undefined, Buffer.alloc(65_536)).catch((raw: unknown) => raw);
  expect(driver.classify(large).code).toBe("TOO_LARGE");
  await api(await plain(own), "STREAM.CREATE.theirs", { name: "theirs", subjects: ["app.>"] });
  const taken = await set(coordination, "a", undefined, "1").catch((raw: unknown) => raw);
  expect([driver.classify(taken).code, String(taken)]).toEqual(["INVALID_ARGUMENT", expect.stringContaining('"theirs"')]);
});
