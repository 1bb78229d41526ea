import { memory } from "brokerkit/memory";
import { expect, test } from "vitest";
import { connect } from "../../src/connect.ts";
import type { Adapter } from "../../src/driver/adapter.ts";

test("reading dead letters creates nothing: a dead topic is made by whoever may write to it", async () => {
  const created: string[] = [];
  const backend = memory();
  const adapter: Adapter = {
    ...backend,
    open(context) {
      const driver = backend.open(context);
      const create = driver.admin.createTopic.bind(driver.admin);
      driver.admin.createTopic = (spec, signal) => {
        created.push(`${spec.name} ${spec.partitions}`);
        return create(spec, signal);
      };
      return driver;
    },
  };
  const broker = await connect(adapter);
  const topic = broker.topic("orders");
  await topic.createGroup("billing");
  expect(await topic.group("billing").deadLetters.count()).toBe(0);
  expect(created).toEqual(["orders undefined"]);
  await topic.subscribe({ group: "billing" }, () => {});
  expect(created).toEqual(["orders undefined", "orders.billing.dead 1"]);
  await broker.close();
});
