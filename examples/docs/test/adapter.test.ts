// #region suite
import { conformance } from "@brokerkit/conformance";
import { afterAll, describe, test } from "vitest";
import { harness } from "../adapter/harness.ts";

conformance({ describe, test, afterAll }, harness);
// #endregion
