import { conformance } from "@brokerkit/conformance";
import { afterAll, describe, test } from "vitest";
import { queueHarness } from "../harness.ts";

// Queues by themselves, on the emulator that knows no topics.
conformance({ describe, test, afterAll }, queueHarness);
