import type { Column } from "../measure/column.ts";
import { sdkColumn } from "./column.ts";
import { bytes } from "./style.ts";

export const column: Column = sdkColumn(
  {
    title: "brokerkit, batch calls",
    kind: "sdk",
    summary: "`publishAll` with several calls under way, `subscribeBatches` (`subscribe` where there are no groups); codec bytes",
    latency: false,
  },
  { ...bytes, batch: true },
);
