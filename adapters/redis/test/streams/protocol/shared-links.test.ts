import { systemClock as clock } from "@brokerkit/conformance";
import { expect, test } from "vitest";
import { Link } from "../../../src/client.ts";
import { endpointOf } from "../../../src/options.ts";
import { compareIds } from "../../../src/streams/mapping.ts";
import { SharedLinks } from "../../../src/streams/protocol/shared-links.ts";
import { defer, soon, startServer } from "../../stage.ts";

async function sharing() {
  const { host, port } = await startServer();
  const links: Link[] = [];
  const open = async (signal: AbortSignal, onDown: (error: Error) => void): Promise<Link> => {
    const link = await Link.open({ endpoint: endpointOf({ host, port }), clock, patienceMs: 15_000, onDown }, signal);
    links.push(link);
    defer(async () => link.destroy());
    return link;
  };
  const control = (): Link => {
    throw new Error("nothing waits here");
  };
  return { links, shared: new SharedLinks({ clock, compareIds, longestBlockMs: 5_000, control, open }) };
}

test("all members share one pair, and one lost connection takes both and tells everybody", async () => {
  const { links, shared } = await sharing();
  const told: string[] = [];
  const join = (name: string) => shared.join(soon(), () => told.push(name));
  const [first, second] = await Promise.all([join("first"), join("second")]);
  expect(second).toBe(first);
  expect(links).toHaveLength(2);
  await links[0]?.call(["CLIENT", "KILL", "ID", String(links[1]?.id)]);
  await expect.poll(() => told).toEqual(["first", "second"]);
  expect(links.every(({ down }) => down !== undefined)).toBe(true);
});

test("closed while it is being opened, it leaves no connection behind, and who joins later gets a new pair", async () => {
  const { links, shared } = await sharing();
  const joining = shared.join(soon(), () => {});
  shared.close();
  const later = shared.join(soon(), () => {});
  await expect(joining).rejects.toThrow("closed while it was being opened");
  const pair = await later;
  expect(pair.reader.down).toBeUndefined();
  expect(links.filter(({ down }) => down === undefined)).toHaveLength(2);
  shared.close();
  expect(links.filter(({ down }) => down === undefined)).toHaveLength(0);
});
