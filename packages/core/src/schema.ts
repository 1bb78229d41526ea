// Standard Schema v1 (standardschema.dev), inlined so that core has no dependency; only the parts that brokerkit reads.

/** What is wrong with a payload, and where in it. */
export interface SchemaIssue {
  readonly message: string;
  readonly path?: ReadonlyArray<PropertyKey | { readonly key: PropertyKey }> | undefined;
}

/** The first few issues, each with where in the payload it is: `user.name: Invalid input`. */
export function issuesText(issues: readonly SchemaIssue[]): string {
  const said = issues.slice(0, 3).map(({ message, path = [] }) => {
    const at = path.map((part) => String(typeof part === "object" ? part.key : part)).join(".");
    return at === "" ? message : `${at}: ${message}`;
  });
  return said.length === 0 ? "no reason given" : said.join("; ");
}

export type SchemaResult<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] };

/** Any Standard Schema: zod, valibot, arktype and others implement it. */
export interface Schema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema takes: what `publish` accepts. */
export type In<S extends Schema> = NonNullable<S["~standard"]["types"]>["input"];
/** What a schema gives: what handlers see. */
export type Out<S extends Schema> = NonNullable<S["~standard"]["types"]>["output"];
