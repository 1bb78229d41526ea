import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import type { BrokerRecipe } from "./recipe.ts";

/** The recipes of a folder of adapters, and which adapters could not be read. */
export interface Discovery {
  readonly recipes: readonly BrokerRecipe[];
  /** Folder name → why. */
  readonly failures: ReadonlyMap<string, string>;
}

function isRecipe(value: unknown): value is BrokerRecipe {
  return typeof value === "object" && value !== null && ["name", "variable", "url", "ready", "version"].every((member) => member in value);
}

/** What `harness.broker` of a module holds; undefined for an embedded backend. */
function recipeOf(module: unknown): BrokerRecipe | undefined {
  const harness: unknown = typeof module === "object" && module !== null && "harness" in module ? module.harness : undefined;
  if (typeof harness !== "object" || harness === null) throw new Error('exports no "harness"');
  const recipe: unknown = "broker" in harness ? harness.broker : undefined;
  if (recipe === undefined) return undefined;
  if (!isRecipe(recipe)) throw new Error("its harness.broker is no recipe");
  return recipe;
}

/**
 * Reads `<folder>/<adapter>/harness.ts` of every adapter: a new adapter needs no entry anywhere.
 * @param folder absolute path of adapters/
 */
export async function discoverRecipes(folder: string): Promise<Discovery> {
  const recipes = new Map<string, BrokerRecipe>();
  const failures = new Map<string, string>();
  for (const entry of (await readdir(folder)).sort()) {
    const path = join(folder, entry, "harness.ts");
    if (!existsSync(path)) continue;
    try {
      const recipe = recipeOf(await import(pathToFileURL(path).href));
      if (recipe !== undefined) recipes.set(recipe.name, recipe);
    } catch (error) {
      failures.set(entry, error instanceof Error ? error.message : String(error));
    }
  }
  return { recipes: [...recipes.values()], failures };
}
