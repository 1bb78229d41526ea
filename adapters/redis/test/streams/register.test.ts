import { ranFor } from "@brokerkit/conformance";
import type { RunningBroker } from "@brokerkit/conformance/brokers";
import { startProxy } from "@brokerkit/conformance/faults";
import type { Coordination, Driver } from "brokerkit/driver";
import { beforeAll, expect, test } from "vitest";
import { type RedisOptions, redis } from "../../src/index.ts";
import { defer, fresh, open, plain, reconnected, soon, startServer, until } from "../stage.ts";

let server: RunningBroker;
beforeAll(async () => {
  server = await startServer();
});

type At = Pick<RunningBroker, "host" | "port">;
interface Opened {
  readonly driver: Driver;
  readonly registers: Coordination;
}

async function registersOn(at: At = server, options: RedisOptions = {}): Promise<Opened> {
  const { driver, capabilities } = await open(redis({ host: at.host, port: at.port, ...options }));
  expect(capabilities.coordination).toBe(true);
  return { driver, registers: driver.coordination as Coordination };
}

const text = async (registers: Coordination, name: string): Promise<string | undefined> =>
  (await registers.read(name, soon()))?.value.toString();

test("a register is written once for each revision, and reads as it was written", async () => {
  const { registers } = await registersOn();
  const [name, set] = [`partitions/${fresh()}.v-1_x`, registers.compareAndSet.bind(registers)];
  expect(await registers.read(name, soon())).toBeUndefined();
  expect(await set(name, "something", Buffer.from("no"), soon())).toBeUndefined();
  const first = await set(name, undefined, Buffer.from("1"), soon());
  expect(await registers.read(name, soon())).toEqual({ value: Buffer.from("1"), revision: first });
  expect(await set(name, undefined, Buffer.from("no"), soon())).toBeUndefined();
  const second = await set(name, first, Buffer.from("2"), soon());
  expect(second).not.toBe(first);
  expect(await set(name, first, Buffer.from("no"), soon())).toBeUndefined();
  const third = await set(name, second, Buffer.from("2"), soon());
  expect(new Set([first, second, third, undefined]).size).toBe(4);
  expect(await text(registers, name)).toBe("2");
});

test("any bytes up to the largest value survive, also an empty one and a view into something larger", async () => {
  const { registers } = await registersOn();
  const large = Buffer.alloc(262_144, Buffer.from([0, 255, 10, 13]));
  for (const value of [large, new Uint8Array(0), new Uint8Array(large.buffer, large.byteOffset + 1, 7)]) {
    const name = fresh();
    await registers.compareAndSet(name, undefined, value, soon());
    expect(Buffer.from((await registers.read(name, soon()))?.value ?? [])).toEqual(Buffer.from(value));
  }
});

test("of twenty connections that count together every step is counted once", async () => {
  const name = fresh();
  const members = await Promise.all(Array.from({ length: 20 }, () => registersOn()));
  const won = await Promise.all(
    members.map(async ({ registers }) => {
      let [steps, tries] = [0, 0];
      for (; steps < 15; tries++) {
        const seen = await registers.read(name, soon());
        const next = Buffer.from(String(Number(seen?.value ?? 0) + 1));
        if ((await registers.compareAndSet(name, seen?.revision, next, soon(20_000))) !== undefined) steps++;
      }
      return tries;
    }),
  );
  expect(await text((members[0] as Opened).registers, name)).toBe("300");
  // They did get in each other's way.
  expect(won.reduce((sum, tries) => sum + tries, 0)).toBeGreaterThan(400);
});

test("a write whose answer is lost rejects; it counted, and whoever tries it again from what it knew does not write", async () => {
  const proxy = await startProxy(server);
  defer(() => proxy.close());
  const { driver, registers } = await registersOn(proxy);
  const [{ registers: other }, name] = [await registersOn(), fresh()];
  const first = await registers.compareAndSet(name, undefined, Buffer.from("1"), soon());
  proxy.drop("down");
  const doubtful = registers.compareAndSet(name, first, Buffer.from("2"), soon()).catch((error: unknown) => driver.classify(error));
  await until(async () => (await text(other, name)) === "2", "it to be written");
  proxy.reset();
  expect(await doubtful).toEqual({ code: "UNAVAILABLE", retryable: true });
  await proxy.heal();
  await driver.connect(soon());
  expect(await registers.compareAndSet(name, first, Buffer.from("2 again"), soon())).toBeUndefined();
  expect(await registers.read(name, soon())).toEqual(await other.read(name, soon()));
});

test("what is given up settles within a second, while the server stands still too; it may count later, never over a newer one", async () => {
  const frozen = await startServer();
  const { driver, registers } = await registersOn(frozen);
  const name = fresh();
  const first = await registers.compareAndSet(name, undefined, Buffer.from("1"), soon());
  await frozen.stop();
  const began = performance.now();
  const codes = [registers.compareAndSet(name, first, Buffer.from("2"), soon(100)), registers.read(name, soon(100))].map((asked) =>
    asked.catch((error: unknown) => driver.classify(error).code),
  );
  expect(await Promise.all(codes)).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
  expect(ranFor(began)).toBeLessThan(1_000);
  await frozen.cont();
  await until(async () => (await text(registers, name)) === "2", "it to count");
  expect(await registers.compareAndSet(name, first, Buffer.from("3"), soon())).toBeUndefined();
});

test("registers outlive a killed server, and a full one still writes them", async () => {
  const mortal = await startServer();
  const { driver, registers } = await registersOn(mortal);
  const name = fresh();
  const first = await registers.compareAndSet(name, undefined, Buffer.from("1"), soon());
  await mortal.kill();
  await mortal.restart();
  await reconnected(driver);
  expect(await registers.read(name, soon())).toEqual({ value: Buffer.from("1"), revision: first });
  await (await plain(mortal)).call("CONFIG", "SET", "maxmemory", "1");
  expect(await registers.compareAndSet(name, first, Buffer.from("2"), soon())).toBeDefined();
  expect(await registers.compareAndSet(fresh(), undefined, Buffer.from("1"), soon())).toBeDefined();
  expect(await text(registers, name)).toBe("2");
});

test("a replica, which may be behind, answers nothing", async () => {
  const replica = await startServer();
  const { driver, registers } = await registersOn(replica);
  await (await plain(replica)).call("REPLICAOF", server.host, String(server.port));
  const refused = async (asked: Promise<unknown> | undefined) => driver.classify(await asked?.catch((error: unknown) => error));
  expect(await refused(registers.read("r", soon()))).toEqual({ code: "UNAVAILABLE", retryable: true });
  expect(await refused(registers.compareAndSet("r", undefined, Buffer.from("1"), soon()))).toEqual({
    code: "UNAVAILABLE",
    retryable: true,
  });
});

test("prefixes keep registers apart, and a topic that is deleted leaves them", async () => {
  const [{ driver, registers: one }, { registers: two }] = [await registersOn(), await registersOn(server, { keyPrefix: "two:" })];
  const name = fresh();
  await driver.admin.createTopic({ name }, soon());
  await one.compareAndSet(name, undefined, Buffer.from("1"), soon());
  expect(await two.read(name, soon())).toBeUndefined();
  await driver.admin.deleteTopic(name, soon());
  expect(await text(one, name)).toBe("1");
});
