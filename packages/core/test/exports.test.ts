import { expect, test } from "vitest";

test("the package's run-time names are these and no others", async () => {
  expect(Object.keys(await import("brokerkit")).sort()).toEqual([
    "BrokerError",
    "DEFAULTS",
    "ERROR_CODES",
    "comparePositions",
    "connect",
    "createBroker",
    "defineTopic",
    "isBrokerError",
    "parsePosition",
    "routed",
  ]);
  expect(Object.keys(await import("brokerkit/testing")).sort()).toEqual(["VirtualClock", "testBroker", "testMessage"]);
  expect(Object.keys(await import("brokerkit/memory"))).toEqual(["memory"]);
  expect(Object.keys(await import("brokerkit/driver"))).toEqual(["driverError"]);
});
