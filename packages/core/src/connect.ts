import { ADAPTERS } from "./adapters.generated.ts";
import { BrokerHandle, type BrokerSource } from "./broker.ts";
import { FEATURE_NAMES, featuresOf } from "./capability/features.ts";
import { checkOptions, checkRequires, isFactory } from "./checks.ts";
import type { Adapter, AdapterFactory, BrokerUrl, FactoryContext } from "./driver/adapter.ts";
import type { Capabilities, Features } from "./driver/capabilities.ts";
import { BrokerError, fromDriver, invalidArgument } from "./errors.ts";
import type { Feature, FeaturesOf, Options } from "./options.ts";
import { nearest } from "./primitives/nearest.ts";
import type { Broker } from "./surface.ts";
import { parseUrl } from "./url.ts";

/** The version of the adapter interface that this package speaks. */
const SPI = 1;

// Of several forms the compiler explains mistakes by the last: below that is the URL, which most people give.

/** Options beside an adapter: what it is known to lack can't be required of it. */
type Requiring<F extends Features> = Options & { requires?: readonly FeaturesOf<NoInfer<F>>[] | undefined };

/**
 * Connects to the backend that a URL (or an adapter such as `memory()`) names, and resolves when it is reached.
 * `requires` lists the features the application needs; it is checked now and is the broker's type. Rejects `INVALID_ARGUMENT`,
 * `ADAPTER_MISSING` (with the line that installs it), `UNSUPPORTED`, `UNAVAILABLE`, `UNAUTHENTICATED`, `FORBIDDEN`, `TIMEOUT`.
 */
export function connect<F extends Features>(adapter: Adapter<F>, o?: Requiring<F>): Promise<Broker<FeaturesOf<F>>>;
export function connect<const R extends readonly Feature[] = readonly Feature[]>(
  url: string,
  o?: Options & { requires?: R | undefined },
): Promise<Broker<R[number]>>;
export async function connect(target: string | Adapter, o: Options & { requires?: readonly Feature[] | undefined } = {}): Promise<Broker> {
  const broker = makeBroker("connect", target, o);
  try {
    return await broker.connect();
  } catch (error) {
    await broker.close();
    throw error;
  }
}

/**
 * Makes a broker without I/O; it connects on first use, or by `broker.connect()`. Throws `INVALID_ARGUMENT` for what is wrong with the
 * URL or the options; everything else is told at the first use.
 */
export function createBroker<F extends Features>(adapter: Adapter<F>, o?: Requiring<F>): Broker<FeaturesOf<F>>;
export function createBroker<const R extends readonly Feature[] = readonly Feature[]>(
  url: string,
  o?: Options & { requires?: R | undefined },
): Broker<R[number]>;
export function createBroker(target: string | Adapter, o: Options & { requires?: readonly Feature[] | undefined } = {}): Broker {
  return makeBroker("createBroker", target, o);
}

function makeBroker(where: string, target: string | Adapter, o: Options & { requires?: readonly Feature[] | undefined }): BrokerHandle {
  checkOptions(where, o);
  checkRequires(o.requires, FEATURE_NAMES);
  const { requires = [], ...options } = o;
  return new BrokerHandle(sourceOf(where, target, options.adapters ?? []), options, requires);
}

function sourceOf(where: string, target: unknown, factories: readonly AdapterFactory[]): BrokerSource {
  if (typeof target === "string") return sourceOfUrl(parseUrl(target), factories);
  if (isFactory(target))
    throw invalidArgument("adapter", `${where} takes an adapter or a URL, and was given the factory itself: call it first.`);
  if (typeof target !== "object" || target === null || typeof (target as Partial<Adapter>).open !== "function") {
    const got = target instanceof URL ? "a URL object: give its text, url.href" : target === null ? "null" : typeof target;
    throw invalidArgument("url", `${where} takes a URL as text, such as "memory:", or an adapter, got ${got}.`);
  }
  const adapter = checkAdapter(target as Adapter);
  return { name: adapter.name, load: () => adapter };
}

/** The source that a URL names. Throws `INVALID_ARGUMENT` for an unknown scheme. */
export function sourceOfUrl(url: BrokerUrl, factories: readonly AdapterFactory[]): BrokerSource {
  const given = factories.find((factory) => factory.schemes.includes(url.scheme));
  if (given !== undefined) return { name: url.scheme, load: () => build(given, url) };
  const home = Object.values(ADAPTERS).find((one) => one.schemes.includes(url.scheme))?.package;
  if (home === undefined) throw unknownScheme(url, factories);
  return {
    name: url.scheme,
    load: async () => {
      const factory = Object.values(await load(home, "", url.scheme)).find(
        (value) => isFactory(value) && value.schemes.includes(url.scheme),
      );
      if (factory === undefined) throw mismatch(`${home} exports no adapter for "${url.scheme}:"`);
      return build(factory as AdapterFactory, url);
    },
  };
}

async function build(factory: AdapterFactory, url: BrokerUrl): Promise<Adapter> {
  const context: FactoryContext = { capabilitiesOf };
  let adapter: Adapter;
  try {
    adapter = await factory.fromUrl(url, context);
  } catch (error) {
    const unclassified = { classify: () => ({ code: "INTERNAL" as const, retryable: false }) };
    throw fromDriver(unclassified, error, { adapter: url.scheme, doing: "url" });
  }
  return checkAdapter(adapter);
}

function unknownScheme(url: BrokerUrl, factories: readonly AdapterFactory[]): Error {
  const known = [...Object.values(ADAPTERS), ...factories].flatMap((one) => one.schemes).sort();
  // Without hosts the "scheme" of "name:secret@host" is a user name.
  const shown = url.hosts.length > 0 || !url.path.includes("@") ? `"${url.scheme}:"` : "That URL's scheme";
  const near = nearest(url.scheme, known);
  const hint = near === undefined ? "" : ` Did you mean "${near}:"?`;
  return invalidArgument(
    "url",
    `${shown} names no backend.${hint} Known schemes: ${known.join(", ")}. Give others by the option "adapters".`,
  );
}

/** The record of an adapter by its name, without loading its client. */
async function capabilitiesOf(name: string): Promise<Capabilities> {
  const home = Object.hasOwn(ADAPTERS, name) ? ADAPTERS[name]?.package : undefined;
  if (home === undefined) {
    throw invalidArgument("adapter", `There is no adapter "${name.slice(0, 80)}". Known: ${Object.keys(ADAPTERS).join(", ")}.`);
  }
  const { capabilities } = (await load(home, "/capabilities", name)) as { capabilities?: Record<string, Capabilities> };
  const record = capabilities?.[name];
  if (record === undefined) throw mismatch(`${home}/capabilities has no record for "${name}"`);
  return record;
}

async function load(home: string, subPath: "" | "/capabilities", scheme: string): Promise<object> {
  // The built-in backend is spelled out so that bundlers take it along; the others are found at run time, or given by `adapters`.
  if (home === "brokerkit/memory") return subPath === "" ? await import("brokerkit/memory") : await import("brokerkit/memory/capabilities");
  const specifier = `${home}${subPath}`;
  try {
    return (await import(specifier)) as object;
  } catch (error) {
    if (!isMissing(error, home)) throw loadFailed(home, error);
    const install = `npm i ${home}`;
    throw new BrokerError("ADAPTER_MISSING", `"${scheme}" needs the package ${home}, which is not installed here: ${install}`, {
      details: { scheme, install },
      cause: error,
    });
  }
}

/** Whether the package itself is not there, as opposed to something that it imports. */
function isMissing(error: unknown, home: string): boolean {
  const { code, message } = (error ?? {}) as Partial<NodeJS.ErrnoException>;
  if (code !== "ERR_MODULE_NOT_FOUND" && code !== "MODULE_NOT_FOUND") return false;
  // The first quoted name is what was not found; the rest says who asked for it.
  const missing = /['"]([^'"]+)['"]/.exec(message ?? "")?.[1] ?? "";
  return missing === home || missing.startsWith(`${home}/`);
}

function loadFailed(home: string, cause: unknown): Error {
  const why = cause instanceof Error ? ` (${cause.message.split("\n", 1)[0]})` : "";
  return new BrokerError("INTERNAL", `${home} is installed but could not be loaded${why}. Install it again, in the version of brokerkit.`, {
    details: undefined,
    cause,
  });
}

function mismatch(what: string): Error {
  return new BrokerError("INTERNAL", `${what}. Install versions of brokerkit and of the adapter that belong together.`, {
    details: undefined,
  });
}

/** Refuses what was made for another version of the adapter interface, and an adapter whose two views of itself differ. */
function checkAdapter(adapter: Adapter): Adapter {
  if (adapter.spi !== SPI) {
    throw invalidArgument(
      "adapter",
      `The adapter "${adapter.name}" is made for version ${String(adapter.spi)} of the adapter interface, and this brokerkit speaks version ${SPI}: install versions that belong together.`,
    );
  }
  const features = featuresOf(adapter.capabilities);
  const differing = FEATURE_NAMES.filter((name) => adapter.features[name] !== features[name]);
  if (differing.length === 0) return adapter;
  throw new BrokerError(
    "INTERNAL",
    `The adapter "${adapter.name}" contradicts its own capability record about: ${differing.join(", ")}. Report it.`,
    {
      details: undefined,
      adapter: adapter.name,
    },
  );
}
