import type { Column, Kind } from "../measure/column.ts";
import { SdkSession } from "./session.ts";
import type { Style } from "./style.ts";

interface Words {
  readonly title: string;
  readonly kind: Kind;
  readonly summary: string;
  readonly latency: boolean;
}

/** brokerkit's packages for an adapter: memory comes with the core. */
function packagesFor({ adapter }: { readonly adapter: string }): readonly string[] {
  return adapter === "memory" ? ["brokerkit"] : ["brokerkit", `@brokerkit/${adapter.replace(/\+.*/, "")}`];
}

/** A column of brokerkit over any adapter, found by the site's URL as an application would. */
export function sdkColumn(words: Words, style: Style): Column {
  return {
    ...words,
    packages: packagesFor,
    async open(site, workload) {
      const { connect, defineTopic } = await import("brokerkit");
      const broker = await connect(site.url);
      return new SdkSession({ broker, style, workload, live: site.delivery === "live", define: defineTopic });
    },
  };
}
