import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../check.ts";
import { generate } from "../generate-adapters.ts";

const check: Check = {
  name: "generated files are up to date",
  run: async (root) => {
    const wanted = await generate(root);
    return wanted
      .filter(({ path, text }) => !existsSync(join(root, path)) || readFileSync(join(root, path), "utf8") !== text)
      .map(({ path }) => `${path}: differs from what adapters/ says; run npm run generate and commit the result`);
  },
};
export default check;
