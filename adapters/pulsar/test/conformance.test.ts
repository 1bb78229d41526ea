import { conformance } from "@brokerkit/conformance";
import { afterAll, describe, test } from "vitest";
import { harness } from "../harness.ts";

conformance({ describe, test, afterAll }, harness);
