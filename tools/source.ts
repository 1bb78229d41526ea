import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Node, parseSync, visitorKeys } from "oxc-parser";

export interface Import {
  readonly specifier: string;
  readonly line: number;
  /** `dynamic` is `import("x")`, the only form that loads later; `type` loads nothing. */
  readonly kind: "value" | "type" | "dynamic";
}

export interface Source {
  readonly path: string;
  /** Physical lines. */
  readonly lines: number;
  /** Lines that hold something other than comments and blanks. */
  readonly codeLines: number;
  readonly imports: readonly Import[];
  /** Lines with `export *`. */
  readonly exportStars: readonly number[];
  /** Lines with the type `any`. */
  readonly anys: readonly number[];
  /** Names of exported values and of exported types. */
  readonly exportedValues: readonly string[];
  readonly exportedTypes: readonly string[];
  /** Calls such as `test.skip(…)` and options such as `{ retry: 2 }` of a test, in words. */
  readonly testFlags: readonly { readonly line: number; readonly what: string }[];
}

const RUNNERS = new Set(["test", "it", "describe", "suite", "bench"]);
const FLAGS = new Set(["only", "skip", "todo"]);
const SHORTHANDS = new Set(["xit", "xtest", "xdescribe", "fit", "fdescribe"]);

/** The name at the root of a call chain: `test` for `test.each([1])("…")` and for `test.skip`. */
function rootName(node: Node): string | undefined {
  if (node.type === "Identifier") return node.name;
  if (node.type === "MemberExpression") return rootName(node.object);
  if (node.type === "CallExpression") return rootName(node.callee);
  if (node.type === "TaggedTemplateExpression") return rootName(node.tag);
  return undefined;
}

function literal(node: Node | null | undefined): string | undefined {
  if (node?.type === "Literal" && typeof node.value === "string") return node.value;
  if (node?.type === "TemplateLiteral" && node.expressions.length === 0) return node.quasis[0]?.value.cooked ?? undefined;
  return undefined;
}

function propertyName(node: Node): string | undefined {
  if (node.type !== "Property") return undefined;
  return node.key.type === "Identifier" ? node.key.name : literal(node.key);
}

function declaredNames(node: Node): string[] {
  switch (node.type) {
    case "VariableDeclaration":
      return node.declarations.map((one) => (one.id.type === "Identifier" ? one.id.name : "(pattern)"));
    case "FunctionDeclaration":
    case "ClassDeclaration":
    case "TSDeclareFunction":
    case "TSEnumDeclaration":
      return [node.id?.name ?? "default"];
    case "TSInterfaceDeclaration":
    case "TSTypeAliasDeclaration":
      return [node.id.name];
    default:
      return [];
  }
}

/** Line numbers of one text, by binary search over the starts of its lines. */
function liner(text: string): (offset: number) => number {
  const starts = [0];
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return (offset) => {
    let low = 0;
    let high = starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low + 1;
  };
}

/** Parses one file; a syntax error is thrown with the file's name. */
export function parseSource(path: string, text: string): Source {
  const result = parseSync(path, text, { astType: path.endsWith("js") ? "js" : "ts" });
  const broken = result.errors[0];
  if (broken !== undefined) throw new Error(`${path}: ${broken.message}`);
  const lineOf = liner(text);
  const imports: Import[] = [];
  const exportStars: number[] = [];
  const anys: number[] = [];
  const exportedValues: string[] = [];
  const exportedTypes: string[] = [];
  const testFlags: { line: number; what: string }[] = [];

  const visit = (node: Node): void => {
    const line = lineOf(node.start);
    switch (node.type) {
      case "ImportDeclaration": {
        const typeOnly =
          node.importKind === "type" ||
          (node.specifiers.length > 0 && node.specifiers.every((one) => one.type === "ImportSpecifier" && one.importKind === "type"));
        imports.push({ specifier: node.source.value, line, kind: typeOnly ? "type" : "value" });
        break;
      }
      case "ExportAllDeclaration":
        exportStars.push(line);
        imports.push({ specifier: node.source.value, line, kind: node.exportKind === "type" ? "type" : "value" });
        break;
      case "ExportNamedDeclaration": {
        const typeOnly = node.exportKind === "type";
        if (node.source !== null) {
          const allTypes = typeOnly || (node.specifiers.length > 0 && node.specifiers.every((one) => one.exportKind === "type"));
          imports.push({ specifier: node.source.value, line, kind: allTypes ? "type" : "value" });
        }
        for (const one of node.specifiers) {
          const name = one.exported.type === "Literal" ? one.exported.value : one.exported.name;
          (typeOnly || one.exportKind === "type" ? exportedTypes : exportedValues).push(name);
        }
        if (node.declaration !== null) {
          const types = typeOnly || node.declaration.type.startsWith("TSInterface") || node.declaration.type === "TSTypeAliasDeclaration";
          (types ? exportedTypes : exportedValues).push(...declaredNames(node.declaration));
        }
        break;
      }
      case "ExportDefaultDeclaration":
        exportedValues.push("default");
        break;
      case "ImportExpression": {
        const specifier = literal(node.source);
        if (specifier !== undefined) imports.push({ specifier, line, kind: "dynamic" });
        break;
      }
      case "TSImportType": {
        const specifier = literal(node.source);
        if (specifier !== undefined) imports.push({ specifier, line, kind: "type" });
        break;
      }
      case "TSImportEqualsDeclaration":
        if (node.moduleReference.type === "TSExternalModuleReference") {
          imports.push({ specifier: node.moduleReference.expression.value, line, kind: node.importKind === "type" ? "type" : "value" });
        }
        break;
      case "TSAnyKeyword":
        anys.push(line);
        break;
      case "MemberExpression":
        if (!node.computed && FLAGS.has(node.property.name) && RUNNERS.has(rootName(node.object) ?? "")) {
          testFlags.push({ line, what: `.${node.property.name}` });
        }
        break;
      case "CallExpression": {
        const name = rootName(node.callee);
        if (name === undefined) break;
        if (node.callee.type === "Identifier" && SHORTHANDS.has(name)) testFlags.push({ line, what: `${name}()` });
        if (!RUNNERS.has(name)) break;
        for (const argument of node.arguments) {
          if (argument.type !== "ObjectExpression") continue;
          for (const property of argument.properties) {
            const key = propertyName(property);
            if (key === "retry" || (key !== undefined && FLAGS.has(key))) testFlags.push({ line, what: `the option "${key}"` });
          }
        }
        break;
      }
      default:
    }
    for (const key of visitorKeys[node.type] ?? []) {
      const child = (node as unknown as Record<string, Node | readonly (Node | null)[] | null>)[key];
      if (Array.isArray(child)) {
        for (const one of child as readonly (Node | null)[]) if (one !== null) visit(one);
      } else if (child !== null && child !== undefined) {
        visit(child as Node);
      }
    }
  };
  visit(result.program);

  // Comments become blanks of the same length, so that lines keep their places and a comment beside code does not hide it.
  const bare = text.split("");
  for (const comment of result.comments) {
    for (let at = comment.start; at < comment.end; at++) if (bare[at] !== "\n") bare[at] = " ";
  }
  const lines = text === "" ? 0 : text.split("\n").length - (text.endsWith("\n") ? 1 : 0);
  const codeLines = bare
    .join("")
    .split("\n")
    .filter((line) => line.trim() !== "").length;
  return { path, lines, codeLines, imports, exportStars, anys, exportedValues, exportedTypes, testFlags };
}

export function readSource(root: string, path: string): Source {
  return parseSource(path, readFileSync(join(root, path), "utf8"));
}
