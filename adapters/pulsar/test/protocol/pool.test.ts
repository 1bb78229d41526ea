import { systemClock } from "@brokerkit/conformance";
import { expect, test } from "vitest";
import { settingsOf } from "../../src/protocol/options.ts";
import { Pool } from "../../src/protocol/pool.ts";
import { startFakeBroker } from "./fake-broker.ts";
import { eventually, soon } from "./stage.ts";

test("a connection that is greeted while the pool closes is closed with it", async () => {
  const broker = await startFakeBroker(() => []);
  const clock = {
    ...systemClock,
    // The limit of the attempt is cancelled once the broker has greeted, a moment before anybody has the connection.
    timer: (ms: number, run: () => void) => {
      const timer = systemClock.timer(ms, run);
      const cancel = (): void => {
        timer.cancel();
        queueMicrotask(() => pool.close());
      };
      return { cancel };
    },
  };
  const pool = new Pool(settingsOf({ serviceUrl: `pulsar://${broker.host}:${broker.port}`, clock }));
  await expect(pool.service(soon())).rejects.toMatchObject({ code: "Closed" });
  expect(broker.commands.map((command) => command.case)).toEqual(["connect"]);
  await eventually(() => broker.open === 0, "the connection to be closed");
});
