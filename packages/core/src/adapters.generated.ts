// Written by `npm run generate` from the folders under adapters/. Do not edit.

/** Adapter name → the package that has it, the URL schemes that lead to it, and what its backend can do. */
export const ADAPTERS: Readonly<
  Record<string, { readonly package: string; readonly schemes: readonly string[]; readonly features: readonly string[] }>
> = {
  memory: { package: "brokerkit/memory", schemes: ["memory"], features: [] },
  redis: { package: "@brokerkit/redis", schemes: ["redis", "rediss"], features: [] },
  "redis+pubsub": { package: "@brokerkit/redis", schemes: ["redis+pubsub", "rediss+pubsub"], features: [] },
  sqlite: { package: "@brokerkit/sqlite", schemes: ["sqlite"], features: [] },
};
