import { conformance } from "@brokerkit/conformance";
import { afterAll, describe, test } from "vitest";
import { harness } from "../harness.ts";

// FIFO has a file of its own: the two take as long as each other, and run side by side.
conformance({ describe, test, afterAll }, { ...harness, adapters: harness.adapters.filter(({ name }) => name === "sqs") });
