import type { Capabilities, Features } from "./capabilities.ts";
import type { Driver } from "./driver.ts";

/** The only clock that core and drivers read, so that tests can own time. */
export interface Clock {
  /** Wall time, epoch ms: for `publishedAt`, never for deadlines. */
  now(): number;
  /** Monotonic ms: for deadlines, leases, rates. */
  monotonic(): number;
  /** Runs `run` once, `ms` from now. A timer never keeps the process alive by itself. */
  timer(ms: number, run: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** What core lends to a driver when it opens one. */
export interface DriverContext {
  readonly clock: Clock;
  /** Tell core that the connection is gone; it will call `connect` again. Optional: a failing call tells as much. */
  readonly down: (error: unknown) => void;
}

/** A backend, ready to be opened: what a factory such as `memory(options)` returns. */
export interface Adapter<F extends Features = Features> {
  readonly name: string;
  /** Version of this interface. Core refuses an adapter made for another one. */
  readonly spi: 1;
  readonly capabilities: Capabilities;
  /** The boolean view of `capabilities`, literal so that types can follow it; core checks that the two agree. */
  readonly features: F;
  /** Makes an unconnected driver, without I/O. Each call makes an independent one. */
  open(context: DriverContext): Driver;
}

/** A URL as core parsed it: several hosts allowed, credentials held apart and never printed. */
export interface BrokerUrl {
  readonly scheme: string;
  readonly hosts: readonly { readonly host: string; readonly port: number | undefined }[];
  /** Decoded, without its leading slash after an authority; `sqlite:./a/b.db` gives `./a/b.db`. */
  readonly path: string;
  readonly options: ReadonlyMap<string, string>;
  /** Decoded user and password. Not enumerable: never printed, inspected or serialised. */
  readonly credentials: { readonly username: string | undefined; readonly password: string | undefined };
}

/** Lets a factory read the record of another adapter by name (memory personalities) without importing it. */
export interface FactoryContext {
  capabilitiesOf(adapter: string): Promise<Capabilities>;
}

/** What an adapter package exports beside its factory function's call: `Object.assign(fn, { schemes, fromUrl })`. */
export interface AdapterFactory {
  readonly schemes: readonly string[];
  /** Throws `driverError("INVALID_ARGUMENT", …)` for parts and options it does not know. */
  fromUrl(url: BrokerUrl, context: FactoryContext): Adapter | Promise<Adapter>;
}
