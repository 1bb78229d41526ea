import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { AdapterHarness, Harness } from "@brokerkit/conformance";
import { startBroker } from "@brokerkit/conformance/brokers";
import type { SiteRecipe } from "../measure/column.ts";

const ADAPTERS = fileURLToPath(new URL("../../../adapters/", import.meta.url));

/** The adapters of the checkout and the folder that each lies in. */
export function adapterFolders(): Map<string, string> {
  const found = new Map<string, string>();
  for (const folder of readdirSync(ADAPTERS)) {
    const path = join(ADAPTERS, folder, "package.json");
    if (!existsSync(path)) continue;
    const { brokerkit } = JSON.parse(readFileSync(path, "utf8")) as { readonly brokerkit?: { readonly schemes: Record<string, string> } };
    for (const name of Object.values(brokerkit?.schemes ?? {})) found.set(name, folder);
  }
  return found;
}

function recipe(harness: Harness, one: AdapterHarness): SiteRecipe {
  const { name, expected } = one;
  return {
    name: "harness",
    durability: `${expected.durabilityOnAck}, under the settings of the adapter's tests`,
    async start(folder) {
      const broker = harness.broker === undefined ? undefined : await startBroker(harness.broker);
      const { host = "", port = 0 } = broker ?? {};
      const url = one.url({ name: "bench", host, port, broker, folder });
      if (url === undefined)
        throw new Error(`The harness of ${name} has no URL, so it needs a site of its own: benchmarks/src/columns/${name}/site.ts.`);
      return {
        site: { adapter: name, url, host, port, folder, delivery: expected.delivery.group === "none" ? "live" : "stored" },
        versions: broker === undefined ? {} : { [broker.name]: broker.version },
        shared: true,
        close: async () => broker?.close(),
      };
    },
  };
}

/** An adapter that has no columns of its own yet is measured where its tests run. */
export async function harnessSite(adapter: string): Promise<SiteRecipe> {
  const folder = adapterFolders().get(adapter);
  if (folder === undefined) throw new Error(`There is no adapter "${adapter}".`);
  const { harness } = (await import(pathToFileURL(join(ADAPTERS, folder, "harness.ts")).href)) as { readonly harness: Harness };
  const one = harness.adapters.find(({ name }) => name === adapter);
  if (one === undefined) throw new Error(`adapters/${folder}/harness.ts does not describe "${adapter}".`);
  return recipe(harness, one);
}
