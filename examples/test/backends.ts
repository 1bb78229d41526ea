// Every backend that another process can reach, found by listing the adapters' folders.
import { existsSync, readdirSync } from "node:fs";
import { type AdapterHarness, type Harness, Sites } from "@brokerkit/conformance";

/** One adapter, and how to get a URL of it. Its server starts when it is first asked for. */
export interface Backend {
  readonly name: string;
  readonly expected: AdapterHarness["expected"];
  url(): Promise<string>;
}

const ADAPTERS = new URL("../../adapters/", import.meta.url);

async function harnesses(): Promise<readonly Harness[]> {
  const files = readdirSync(ADAPTERS)
    .map((name) => new URL(`${name}/harness.ts`, ADAPTERS))
    .filter((file) => existsSync(file));
  return Promise.all(files.map(async (file) => ((await import(file.href)) as { harness: Harness }).harness));
}

/** `close` stops every server that was asked for. Adapters of one folder share a server. */
export async function backends(): Promise<{ readonly all: readonly Backend[]; close(): Promise<void> }> {
  const found = (await harnesses()).map((harness) => ({ harness, sites: new Sites(harness) }));
  const all = found.flatMap(({ harness, sites }) =>
    harness.adapters
      .filter((adapter) => adapter.url(NOWHERE) !== undefined)
      .map(({ name, expected, url }) => ({ name, expected, url: async () => url(await sites.usual()) as string })),
  );
  return { all, close: async () => void (await Promise.all(found.map(({ sites }) => sites.close()))) };
}

const NOWHERE = { name: "nowhere", host: "127.0.0.1", port: 1, broker: undefined, folder: "nowhere" } as const;
