/** Options of one start, such as a password or a memory limit. Each recipe documents its own; an unknown one should throw. */
export type BrokerOptions = Readonly<Record<string, string>>;

/** A broker's address as recipes see it. */
export interface Endpoint {
  readonly url: string;
  readonly host: string;
  readonly port: number;
  readonly options: BrokerOptions;
}

/** Where a broker is reached, as far as it is known before its URL is. */
export interface Listening extends Omit<Endpoint, "url"> {
  /** The further ports of a local process; none elsewhere. */
  readonly extraPorts: readonly number[];
}

/** What a local process may use: all of it exists, is empty at the first start, and is kept between restarts. */
export interface Place {
  readonly host: string;
  readonly port: number;
  /** As many more free ports as `extraPorts` asked for. */
  readonly extraPorts: readonly number[];
  /** Folder for the broker's data. */
  readonly data: string;
  /** Folder that holds what `files` returned. */
  readonly conf: string;
  readonly options: BrokerOptions;
  /** The program that is started. */
  readonly binary: string;
  /** Root folder of the package that the program comes from: "/" when it is installed. */
  readonly home: string;
  /** Folder of what the program loads besides; "" where the recipe names no library. */
  readonly library: string;
}

/** What the distribution does not have, fetched into the cache folder once and shared between runs. */
export interface Library {
  /** Folder name in the cache: name and version. */
  readonly name: string;
  /**
   * Fills an empty folder and verifies what it fetched. Called once at a time, and again only if it failed. The folder gets its name afterwards.
   * @param program the one that will use it
   */
  fill(folder: string, program: Program): Promise<void>;
}

/** A program that was found, where its package is unpacked ("/" when it is installed), and what its environment needs for that. */
export interface Program {
  readonly binary: string;
  readonly home: string;
  readonly env: Readonly<Record<string, string>>;
}

/** A program of another source than the distribution. */
export interface Download extends Omit<Library, "fill"> {
  fill(folder: string): Promise<void>;
  /** The program inside that folder. */
  readonly binary: string;
}

/** A program to run to its end, which must be 0. */
export type Command = readonly [program: string, ...args: string[]];

/** How to run a broker as a local process. */
export interface ProcessRecipe {
  /** Names of the program; the first one on PATH (or in the system's sbin folders) is taken. */
  readonly binaries: readonly string[];
  /** Debian package that brings the program where it is missing. */
  readonly debian?: string | undefined;
  readonly download?: Download | undefined;
  /** What the program needs besides, wherever it comes from itself: the classes of a server that a common runtime runs. */
  readonly library?: Library | undefined;
  /** How many ports it needs besides the main one. Default 0. */
  readonly extraPorts?: number | undefined;
  /** Files to write before the first start, by their path below `conf`. */
  readonly files?: ((place: Place) => Readonly<Record<string, string | Uint8Array>>) | undefined;
  /** What to run before the first start: formatting storage and the like. */
  readonly prepare?: ((place: Place) => readonly Command[]) | undefined;
  /** What to run before every further start, against what a server that was killed leaves and the next one stumbles over. */
  readonly repair?: ((place: Place) => readonly Command[]) | undefined;
  readonly args: (place: Place) => readonly string[];
  /** Added to this process's environment. */
  readonly env?: ((place: Place) => Readonly<Record<string, string>>) | undefined;
}

/** How to run a broker in a container. */
export interface ContainerRecipe {
  readonly image: string;
  /** The port that it listens on inside. */
  readonly port: number;
  /** Arguments for the image. `host` and `port` are the address that clients will dial. */
  readonly command?: ((at: Omit<Endpoint, "url">) => readonly string[]) | undefined;
  readonly environment?: ((at: Omit<Endpoint, "url">) => Readonly<Record<string, string>>) | undefined;
}

/**
 * How to get one broker for tests and for people: data and a few functions, in an adapter's `harness.ts`.
 * It can be found in three ways: by a URL in the environment, in a container, as a local process.
 */
export interface BrokerRecipe {
  /** What people call it: `npm run brokers -- up <name>`. */
  readonly name: string;
  /** The environment variable that may hold the URL of one that runs already. */
  readonly variable: string;
  /** Its usual port, for URLs that name none. */
  readonly port: number;
  readonly url: (at: Listening) => string;
  /** One look, at socket level, whether it serves: resolves if it does, rejects if it does not yet. Heed the signal: it may not answer at all. */
  readonly ready: (at: Endpoint, signal: AbortSignal) => Promise<void>;
  /** The server's version, asked of the server. */
  readonly version: (at: Endpoint, signal: AbortSignal) => Promise<string>;
  /** How long it may take to be ready after a start, in milliseconds. Default 30,000. */
  readonly readyMs?: number | undefined;
  readonly container?: ContainerRecipe | undefined;
  readonly process?: ProcessRecipe | undefined;
}

export interface StartOptions {
  /** The test will kill, freeze or fill it: always a private process. Default false. */
  readonly destructive?: boolean | undefined;
  /** A broker that is set up in another way than usual: always one of our own, never the environment's. */
  readonly options?: BrokerOptions | undefined;
}

/** A broker that serves. Whoever started it closes it; if that process dies first, the broker dies too. */
export interface RunningBroker extends AsyncDisposable {
  readonly name: string;
  readonly url: string;
  readonly host: string;
  readonly port: number;
  /** As the server told it. */
  readonly version: string;
  readonly source: "environment" | "container" | "process";
  /** The last lines that it printed; "" where they cannot be had. */
  log(): Promise<string>;
  /** SIGKILL; resolves when it is gone. This and the next three reject with `NotOursError` unless `source` is "process". */
  kill(): Promise<void>;
  /** Starts it again, on the same port and the same data, after a SIGTERM if it still runs; resolves when it serves. */
  restart(): Promise<void>;
  /** SIGSTOP; resolves when it stands still. Its connections stay open and nothing answers. */
  stop(): Promise<void>;
  /** SIGCONT. */
  cont(): Promise<void>;
  /** Ends it and removes its data; leaves one from the environment alone. A second call does nothing. */
  close(): Promise<void>;
}

/** No way to get the broker worked. The message says for each way why, and what to do. */
export class BrokerUnavailableError extends Error {
  override readonly name = "BrokerUnavailableError";
}

/** A fault was asked of a broker that is not a private process. */
export class NotOursError extends Error {
  override readonly name = "NotOursError";
}
