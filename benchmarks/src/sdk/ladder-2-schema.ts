import type { Column } from "../measure/column.ts";
import { sdkColumn } from "./column.ts";
import { checked, json } from "./style.ts";

export const column: Column = sdkColumn(
  { title: "… with a schema", kind: "ladder", summary: "and a small schema that is checked on both sides", latency: false },
  { ...json, schema: checked },
);
