import type { Broker } from "brokerkit";
import type { Workload } from "../measure/workload.ts";
import type { Style } from "./style.ts";

export interface SdkWiring {
  readonly broker: Broker;
  readonly style: Style;
  readonly workload: Workload;
  /** Nothing is stored: broadcast instead of a group. */
  readonly live: boolean;
  /** Not imported at the top: a cold start begins before brokerkit is loaded. */
  readonly define: typeof import("brokerkit").defineTopic;
}
