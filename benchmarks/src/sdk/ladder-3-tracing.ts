import { tracingChannel } from "node:diagnostics_channel";
import type { Column } from "../measure/column.ts";
import { sdkColumn } from "./column.ts";
import { checked, json } from "./style.ts";

const nothing = (): void => {};

const plain: Column = sdkColumn(
  { title: "… with tracing", kind: "ladder", summary: "and with listeners on the tracing channels that do nothing", latency: false },
  { ...json, schema: checked },
);

export const column: Column = {
  ...plain,
  open(site, workload) {
    for (const name of ["brokerkit.publish", "brokerkit.deliver"]) {
      tracingChannel(name).subscribe({ start: nothing, end: nothing, asyncStart: nothing, asyncEnd: nothing, error: nothing });
    }
    return plain.open(site, workload);
  },
};
