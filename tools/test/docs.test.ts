import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { docs } from "../checks/docs.ts";
import { render } from "../docs.ts";
import { anchorOf, parseMarkdown } from "../markdown.ts";
import { cut, parseRef, regionsOf } from "../snippets.ts";
import { tree } from "./tree.ts";

const program = `import { a } from "a";
export function run(): void {
  // #region use
  a();
  // #region inner
  if (1) a();
  // #endregion
  // #endregion
}
`;
const PROGRAM = "examples/docs/p.ts";
const tested = { [PROGRAM]: program, "examples/docs/test/p.test.ts": `import { run } from "../p.ts";\nrun();\n` };
const page = (body: string, marker = `<!-- snippet: ${PROGRAM}#use -->`): string => `# Page\n\n${marker}\n\`\`\`ts\n${body}\n\`\`\`\n`;
const inner = `\n<!-- snippet: ${PROGRAM}#inner -->\n\`\`\`ts\nif (1) a();\n\`\`\`\n`;

describe("snippets", () => {
  test("a region is cut without its indentation and without the marks of others", () => {
    expect(regionsOf(program)).toEqual(
      new Map([
        ["inner", "if (1) a();"],
        ["use", "a();\nif (1) a();"],
      ]),
    );
  });

  test("several regions of one file come one after the other", () => {
    expect(parseRef("snippet: a/b.ts#one+two")).toEqual({ path: "a/b.ts", regions: ["one", "two"] });
    expect(cut(tree(tested), { path: PROGRAM, regions: ["inner", "use"] })).toBe("if (1) a();\n\na();\nif (1) a();");
  });

  test.each(["// #region a\n// #region a\n// #endregion\n// #endregion", "// #region a", "// #endregion"])(
    "unpaired marks are refused: %j",
    (text) => {
      expect(() => regionsOf(text)).toThrow(/region/);
    },
  );

  test("a missing file or region says what there is", () => {
    const root = tree(tested);
    expect(() => cut(root, { path: "x.ts", regions: ["a"] })).toThrow("there is no file x.ts");
    expect(() => cut(root, { path: PROGRAM, regions: ["a"] })).toThrow(/no region "a"; it has inner, use/);
  });
});

describe("markdown", () => {
  test.each([
    ["Two `words`, here", "two-words-here"],
    ["kafkajs (old)", "kafkajs-old"],
    ["[linked](x.md) text", "linked-text"],
    ["NOT_FOUND", "not_found"],
  ])("the heading %j has the anchor %j", (heading, anchor) => {
    expect(anchorOf(heading)).toBe(anchor);
  });

  test("code is no link, a repeated heading has a numbered anchor", () => {
    const { links, anchors } = parseMarkdown('# A\n[x](y.md) `[no](no.md)`\n```sh\n[no](no.md)\n```\n# A\n<img src="i.svg">\n[r]: z.md\n');
    expect(links.map(({ target }) => target)).toEqual(["y.md", "i.svg", "z.md"]);
    expect([...anchors]).toEqual(["a", "a-1"]);
  });
});

describe("the check", () => {
  const violations = (files: Readonly<Record<string, string>>): Promise<string[]> => docs(tree({ ...tested, ...files }));

  test("passes where everything agrees, and after rewriting what did not", async () => {
    const root = tree({ ...tested, "README.md": page("old") + inner });
    expect(await docs(root)).toEqual([expect.stringContaining("README.md: line 5 differs from what it is made from")]);
    writeFileSync(join(root, "README.md"), (await render(root, "README.md")).text);
    expect(await docs(root)).toEqual([]);
    expect(readFileSync(join(root, "README.md"), "utf8")).toBe(page("a();\nif (1) a();") + inner);
  });

  test("refuses code that comes from nowhere, and lets foreign code be if it parses", async () => {
    const good = page("a();\nif (1) a();") + inner;
    expect(await violations({ "README.md": `${good}\n\`\`\`ts\nconst a = 1;\n\`\`\`\n` })).toEqual([
      expect.stringMatching(/README\.md:14: this code is not tested/),
    ]);
    expect(await violations({ "README.md": `${good}\n<!-- foreign: lib 1.0 -->\n\`\`\`ts\nconst a = 1;\n\`\`\`\n` })).toEqual([]);
    expect(await violations({ "README.md": `${good}\n<!-- foreign: lib 1.0 -->\n\`\`\`ts\nconst = 1;\n\`\`\`\n` })).toEqual([
      expect.stringMatching(/does not parse/),
    ]);
    expect(await violations({ "README.md": `${good}\n\`\`\`sh\nnpm test\n\`\`\`\n` })).toEqual([]);
  });

  test("refuses what is not what the command prints, and a command that fails", async () => {
    const main = `if (process.argv[2] === "fail") throw new Error("no"); console.log("printed", ...process.argv.slice(2));`;
    const good = page("a();\nif (1) a();") + inner;
    const said = (command: string, text: string): Promise<string[]> =>
      violations({
        "packages/cli/src/main.ts": main,
        "README.md": `${good}\n<!-- output: brokerkit ${command} -->\n\`\`\`text\n${text}\n\`\`\`\n`,
      });
    expect(await said("compare a+b c", "printed compare a+b c")).toEqual([]);
    expect(await said("compare a+b c", "printed")).toEqual([expect.stringMatching(/README\.md: line 16 differs/)]);
    expect(await said("fail", "printed")).toEqual([expect.stringMatching(/README\.md:15: Command failed/)]);
  });

  test("refuses a region that nobody shows, and a program that no test runs", async () => {
    expect(await violations({ "README.md": page("a();\nif (1) a();") })).toEqual([
      expect.stringMatching(/no document shows the region "inner"/),
    ]);
    expect(await violations({ "README.md": page("a();\nif (1) a();") + inner, "examples/docs/test/p.test.ts": "" })).toEqual([
      `${PROGRAM}: no test runs run`,
    ]);
  });

  test("refuses dead links, dead anchors and links out of the checkout", async () => {
    const files = { "README.md": page("a();\nif (1) a();") + inner, "docs/b.md": "# B\n## Two words\n" };
    const links =
      "[ok](b.md#two-words) [ok](../README.md) [ok](https://example.org/x) [a](c.md) [b](b.md#three) [c](../../x.md) [d](#nope)\n";
    expect(await violations({ ...files, "docs/a.md": `# A\n${links}` })).toEqual([
      "docs/a.md:2: the link c.md leads nowhere",
      "docs/a.md:2: docs/b.md has no heading for #three",
      "docs/a.md:2: the link ../../x.md leads out of the checkout",
      "docs/a.md:2: docs/a.md has no heading for #nope",
    ]);
  });

  test("refuses pages that disagree with codes, defaults and events", async () => {
    const root = tree({
      ...tested,
      "README.md": page("a();\nif (1) a();") + inner,
      "packages/core/src/errors.ts": `export interface ErrorDetails {\n  ONE: { readonly n: number };\n  TWO: undefined;\n}\nexport const ERROR_CODES = ["ONE", "TWO"];\n`,
      "packages/core/src/options.ts": `export const DEFAULTS = { a: 10_000, b: "x", "c.d": { e: 1 } };\n`,
      "packages/core/src/telemetry/events.ts": `type E = { readonly type: "up" } | { readonly type: "down" };\n`,
    });
    const write = (path: string, text: string): void => {
      mkdirSync(join(root, "docs"), { recursive: true });
      writeFileSync(join(root, path), text);
    };
    expect(await docs(root)).toEqual(["docs/errors.md is missing", "docs/defaults.md is missing", "docs/observability.md is missing"]);
    const section = (code: string, details: string): string =>
      `## ${code}\n- **Retryable:** no\n- **Details:** ${details}\n- **What to do:** this\n`;
    const rows = (b: string): string => `## One table\n| \`a\` | \`10_000\` | |\n| \`b\` | \`${b}\` | |\n| \`c.d\` | \`{ e: 1 }\` | |\n`;
    write("docs/errors.md", section("ONE", "`{ n: number }`") + section("TWO", "none"));
    write("docs/defaults.md", rows('"x"'));
    write("docs/observability.md", "## Events\n| `up` | |\n| `down` | |\n## More\n| `other` | |\n");
    expect(await docs(root)).toEqual([]);
    write("docs/errors.md", section("ONE", "none"));
    write("docs/defaults.md", `${rows('"y"')}| \`z\` | \`1\` | |\n`);
    write("docs/observability.md", "## Events\n| `up` | |\n| `sideways` | |\n");
    expect(await docs(root)).toEqual([
      "docs/errors.md: its sections are ONE; ERROR_CODES are ONE, TWO",
      "docs/errors.md:1: the section ONE must say: **Details:** `{ n: number }`",
      'docs/defaults.md: `b` is `"x"`, the page says `"y"`',
      "docs/defaults.md: there is no default `z`",
      "docs/observability.md: no row for the event `down`",
      "docs/observability.md: there is no event `sideways`",
    ]);
  });
});
