import { connect } from "brokerkit";
import { driverError } from "brokerkit/driver";
import { expect, onTestFinished, test, vi } from "vitest";
import { capabilities } from "../adapter/capabilities.ts";
import type { ShelfDriver } from "../adapter/driver.ts";
import { classify } from "../adapter/errors.ts";
import { shelf } from "../adapter/index.ts";
import { Shelf, ShelfError } from "../adapter/shelf.ts";
import { byUrl } from "../adapter/use.ts";

test("an adapter of one's own is found by its scheme", async () => {
  const broker = await byUrl();
  onTestFinished(() => broker.close());
  const seen = vi.fn();
  await broker.topic("novels").subscribe({ group: "readers" }, ({ payload }) => seen(payload));
  await broker.topic("novels").publish("Emma");
  await vi.waitFor(() => expect(seen).toHaveBeenCalledExactlyOnceWith("Emma"));
  expect(broker.capabilities).toMatchObject(capabilities.shelf);
  await expect(broker.topic("novels").subscribe({ broadcast: true }, seen)).rejects.toMatchObject({ code: "UNSUPPORTED" });
});

test("parts of a URL that mean nothing are refused", async () => {
  for (const url of ["shelf:", "shelf://host", "shelf:books?rows=4"]) {
    await expect(connect(url, { adapters: [shelf] })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  }
});

test("a broken link loses what is held, and it is delivered again after core has connected again", async () => {
  const drivers: ShelfDriver[] = [];
  const adapter = shelf({ name: "breaking" });
  const broker = await connect({
    ...adapter,
    open: (context) => {
      const driver = adapter.open(context) as ShelfDriver;
      drivers.push(driver);
      return driver;
    },
  });
  onTestFinished(() => broker.close({ deadlineMs: 100 }));
  const seen: { payload: unknown; signal: AbortSignal }[] = [];
  const stuck = Promise.withResolvers<void>();
  await broker.topic("novels").subscribe({ group: "readers" }, async ({ payload, signal }) => {
    seen.push({ payload, signal });
    if (seen.length === 1) await stuck.promise;
  });
  await broker.topic("novels").publish("Emma");
  await vi.waitFor(() => expect(seen).toHaveLength(1));
  drivers[0]?.lostLink();
  expect(seen[0]?.signal.aborted).toBe(true);
  stuck.resolve();
  await vi.waitFor(() => expect(seen.map(({ payload }) => payload)).toEqual(["Emma", "Emma"]));
  expect(drivers).toHaveLength(1);
});

test("errors become codes by a table", () => {
  expect(classify(new ShelfError("offline", "x"))).toEqual({ code: "UNAVAILABLE", retryable: true });
  expect(classify(driverError("TIMEOUT", "x"))).toEqual({ code: "TIMEOUT", retryable: true });
  expect(classify(new Error("x"))).toEqual({ code: "INTERNAL", retryable: false });
  expect(() => new Shelf().groups("missing")).toThrow(ShelfError);
});
