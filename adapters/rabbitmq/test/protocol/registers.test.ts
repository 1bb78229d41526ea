import { ranFor } from "@brokerkit/conformance";
import type { Coordination } from "brokerkit/driver";
import { beforeAll, describe, expect, test } from "vitest";
import { rabbitmq } from "../../src/index.ts";
import { registerOf } from "../../src/mapping.ts";
import { at, codeOf, fresh, open, plain, proxied, reconnected, type Server, soon, startServer } from "../stage.ts";

let server: Server;
beforeAll(async () => {
  server = await startServer();
});

type Queues = "quorum" | "classic";

async function registers(queueType: Queues, where: { host: string; port: number } = server.broker) {
  const { driver, downs } = await open(rabbitmq({ ...at(where), queueType, log: false }));
  return { driver, downs, ...bound(driver.coordination as Coordination) };
}

function bound(coordination: Coordination) {
  return {
    read: async (name: string) => {
      const register = await coordination.read(name, soon());
      return register === undefined ? undefined : { ...register, text: Buffer.from(register.value).toString() };
    },
    write: (name: string, expected: string | undefined, text: string) =>
      coordination.compareAndSet(name, expected, Buffer.from(text), soon()),
  };
}

describe.each<Queues>(["quorum", "classic"])("registers on %s queues", (queueType) => {
  test("are not there until they are written, and change only from what they were", async () => {
    const { read, write } = await registers(queueType);
    const name = `${fresh()}/a.b_c-d`;
    expect(await read(name)).toBeUndefined();
    expect(await write(name, "1-2", "x")).toBeUndefined();
    const first = await write(name, undefined, "one");
    expect(await read(name)).toMatchObject({ text: "one", revision: first });
    expect(await write(name, undefined, "two")).toBeUndefined();
    const second = await write(name, first, "two");
    expect(second).not.toBe(first);
    expect(await write(name, first, "three")).toBeUndefined();
    expect(await read(name)).toMatchObject({ text: "two", revision: second });
  });

  test("lose no change, whoever writes at the same time", async () => {
    const members = await Promise.all([1, 2, 3].map(() => registers(queueType)));
    const name = fresh();
    const increment = async ({ read, write }: (typeof members)[0], times: number): Promise<void> => {
      for (let done = 0; done < times; ) {
        const now = await read(name);
        if ((await write(name, now?.revision, String(Number(now?.text ?? 0) + 1))) !== undefined) done++;
      }
    };
    await Promise.all([...members, members[0] as (typeof members)[0]].map((member) => increment(member, 5)));
    for (const { read } of members) expect((await read(name))?.text).toBe("20");
  });

  test("hold large values, are read more often than a server delivers a message, and have long names", async () => {
    const { driver, read } = await registers(queueType);
    const name = `${fresh()}/${"x".repeat(380)}`;
    const large = Buffer.alloc(262_144, 9);
    const revision = await driver.coordination?.compareAndSet(name, undefined, large, soon());
    for (let times = 0; times < 25; times++) expect((await read(name))?.revision).toBe(revision);
    expect(Buffer.compare((await driver.coordination?.read(name, soon()))?.value as Buffer, large)).toBe(0);
    expect((await server.control("list_queues", "--silent", "name")).split("\n")).toContain(registerOf(name));
  });

  test("whose reader or writer dies with the value in hand are there for the next", async () => {
    const proxy = await proxied(server.broker);
    const dying = await registers(queueType, proxy);
    const { read, write } = await registers(queueType);
    const name = fresh();
    let revision = await write(name, undefined, "0");
    for (let times = 1; times <= 5; times++) {
      const calls = [dying.read(name), dying.write(name, revision, `dying ${times}`)].map((call) => codeOf(dying.driver, call));
      // Somewhere in the middle of it.
      await new Promise((resolve) => setTimeout(resolve, 2 * times));
      proxy.reset();
      for (const code of await Promise.all(calls)) expect(["done", "UNAVAILABLE"]).toContain(code);
      const now = await read(name);
      expect([`dying ${times}`, String(times - 1)]).toContain(now?.text);
      revision = await write(name, now?.revision, String(times));
      expect(revision).toBeDefined();
      await reconnected(dying.driver);
    }
  });

  test("that somebody holds are waited for, as long as one may", async () => {
    const { driver, read, write } = await registers(queueType);
    const name = fresh();
    const revision = await write(name, undefined, "mine");
    const holder = await plain(server.broker);
    await (await holder.createChannel()).assertQueue(`${registerOf(name)}~lock`, { exclusive: true, durable: false });
    const began = performance.now();
    expect(await codeOf(driver, driver.coordination?.read(name, AbortSignal.timeout(300)) as Promise<unknown>)).toBe("UNAVAILABLE");
    expect(ranFor(began)).toBeLessThan(1_300);
    const waiting = read(name);
    await holder.close();
    expect(await waiting).toMatchObject({ text: "mine", revision });
  });
});
