import { driverError } from "brokerkit/driver";
import { NativeClient, type NativeOptions } from "./protocol/native/client.ts";
import type { NativeModule } from "./protocol/native/module.ts";
import type { PulsarTransport } from "./transport.ts";

/** The package of the official client, which is installed besides. */
const PACKAGE = "pulsar-client";

/** A transport by the official client for Node, loaded when it first connects; rejects `ADAPTER_MISSING` where that is not installed. */
export function nativeTransport(options: NativeOptions, load: () => Promise<unknown> = () => import(PACKAGE)): PulsarTransport {
  return new NativeClient(options, async () => {
    try {
      const loaded = (await load()) as NativeModule & { readonly default?: NativeModule };
      return loaded.default ?? loaded;
    } catch (cause) {
      const text = `The option transport: "native" needs the package ${PACKAGE}, which can't be loaded. Install it (npm install ${PACKAGE}), or leave the option out.`;
      throw driverError("ADAPTER_MISSING", text, { cause });
    }
  });
}
