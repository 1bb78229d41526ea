// The sub-path brokerkit/memory/capabilities: data only, so that tools can read the record without loading the backend.
export { capabilities } from "../../../adapters/memory/src/capabilities.ts";
