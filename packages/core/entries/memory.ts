// The sub-path brokerkit/memory: its source is a workspace of its own, adapters/memory, and is bundled into this package.
export { type MemoryOptions, memory } from "../../../adapters/memory/src/index.ts";
