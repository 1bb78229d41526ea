// The conformance suite: `conformance(runner, harness)` registers every case with a test runner.
export { systemClock } from "./clock.ts";
export {
  type AdapterHarness,
  defineHarness,
  type ForeignClient,
  type ForeignReader,
  type ForeignRecord,
  type Harness,
  type KnownGap,
  type NetworkProvocation,
  type Provocation,
  type ProvocationId,
  type Provoke,
  type Provoked,
  type Site,
} from "./harness.ts";
export { Shared } from "./shared.ts";
export { type OwnSite, Sites } from "./sites.ts";
export { ranFor } from "./stillness.ts";
export { conformance, type Runner, type TestContext } from "./suite.ts";
