import type { Column } from "../measure/column.ts";
import { sdkColumn } from "./column.ts";
import { json } from "./style.ts";

export const column: Column = sdkColumn(
  { title: "… with JSON", kind: "ladder", summary: "as brokerkit, codec json", latency: false },
  json,
);
