import { describe, expect, test } from "vitest";
import { parseSource } from "../source.ts";

const parse = (text: string) => parseSource("file.ts", text);

describe("imports", () => {
  test("are seen in every form, each with its line and kind", () => {
    const { imports } = parse(`import { a } from "one";
import type { B } from "two";
import { type C } from "three";
export { d } from "four";
export type { E } from "five";
import "six";
const f = await import("seven");
type G = import("eight").G;
export * from "nine";
import { type H, h } from "ten";
`);
    expect(imports.map(({ specifier, line, kind }) => `${line} ${specifier} ${kind}`)).toEqual([
      "1 one value",
      "2 two type",
      "3 three type",
      "4 four value",
      "5 five type",
      "6 six value",
      "7 seven dynamic",
      "8 eight type",
      "9 nine value",
      "10 ten value",
    ]);
  });

  test("in strings and comments are none", () => {
    expect(parse(`// import { a } from "one";\nconst text = 'import "two"';\n`).imports).toEqual([]);
  });
});

test("code lines leave comments and blank lines out, and nothing else", () => {
  const { lines, codeLines } = parse(`// why
/**
 * A contract.
 */
export const a = 1; // beside code

export const b = \`
  // not a comment
\`;
`);
  expect([lines, codeLines]).toEqual([9, 4]);
});

test("a character outside the basic plane does not shift what follows", () => {
  const { codeLines, anys } = parse(`// \u{1F600}\u{1F600}\nconst a = "\u{1F600}"; // é\nconst b: any = 1;\n`);
  expect([codeLines, anys]).toEqual([2, [3]]);
});

test("the type any is found wherever a type can stand, and the word elsewhere is not", () => {
  expect(parse(`const a: any = 1;\ntype B = Array<any>;\nconst c = a as any;\n`).anys).toEqual([1, 2, 3]);
  expect(parse(`// any\nconst any = "any";\nexport { any };\n`).anys).toEqual([]);
});

test("export * is found, with and without a name", () => {
  expect(parse(`export * from "./a.ts";\nexport * as b from "./b.ts";\n`).exportStars).toEqual([1, 2]);
});

test("exported values and types are told apart", () => {
  const source = parse(`export const a = 1;
export function b(): void {}
export class C {}
export interface D {}
export type E = 1;
export { f, type G } from "./f.ts";
export type { H } from "./h.ts";
`);
  expect(source.exportedValues).toEqual(["a", "b", "C", "f"]);
  expect(source.exportedTypes).toEqual(["D", "E", "G", "H"]);
});

describe("flags of tests", () => {
  test.each([
    [`test.skip("a", () => {});`, ".skip"],
    [`describe.only("a", () => {});`, ".only"],
    [`it.todo("a");`, ".todo"],
    [`test.concurrent.only("a", () => {});`, ".only"],
    [`test.each([1]).skip("a", () => {});`, ".skip"],
    [`xit("a", () => {});`, "xit()"],
    [`test("a", { retry: 2 }, () => {});`, 'the option "retry"'],
    [`test("a", { skip: true }, () => {});`, 'the option "skip"'],
  ])("%s is found", (text, what) => {
    expect(parse(text).testFlags).toEqual([{ line: 1, what }]);
  });

  test("an option of the same name in the code under test is none", () => {
    const text = `test("a", async () => { await topic.subscribe({ retry: { attempts: 2 } }, handler); list.skip(1); });`;
    expect(parse(text).testFlags).toEqual([]);
  });
});

test("a syntax error names the file", () => {
  expect(() => parse("const = 1;")).toThrow(/^file\.ts: /);
});
