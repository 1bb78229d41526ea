import type { Column } from "../measure/column.ts";
import { sdkColumn } from "./column.ts";
import { bytes } from "./style.ts";

export const column: Column = sdkColumn(
  {
    title: "brokerkit",
    kind: "sdk",
    summary: "`publish` for each message with a window of promises, `subscribe` with concurrency; codec bytes",
    latency: true,
  },
  bytes,
);
