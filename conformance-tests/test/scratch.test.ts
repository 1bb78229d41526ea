import { afterAll, describe, test } from "vitest";
import { conformance } from "../src/index.ts";
import { harness } from "./memory-harness.ts";
conformance({ describe, test, afterAll }, harness);
