import type { Socket } from "node:net";
import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import type { Conditions } from "./conditions.ts";

// So much may be under way inside the proxy in each direction; beyond it the sender is not read any more.
const highWater = 1 << 20;
// With a bandwidth limit, a write about this often.
const tickMs = 20;

interface Chunk {
  readonly bytes: Buffer;
  readonly arrived: number;
}

export interface PumpEvents {
  /** Whether the connection's conditions hold it back; resolves when they do not. */
  readonly released: () => Promise<void>;
  /** How many of these bytes may pass before the connection is cut; all of them if it isn't. */
  readonly inspect: (bytes: Buffer) => number;
  /** So many bytes have left for the other side. */
  readonly passed: (count: number) => void;
  readonly dropped: (count: number) => void;
}

/** Moves the bytes of one direction of one connection, in order and with back-pressure, under conditions that may change. */
export class Pump {
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #conditions: Conditions;
  readonly #events: PumpEvents;
  readonly #queue: Chunk[] = [];
  readonly #stop = new AbortController();
  #queued = 0;
  #ended = false;
  #wake: (() => void) | undefined;
  /** When the next bytes may be written under the bandwidth limit. */
  #nextAt = 0;
  /** Bytes were swallowed: what follows would make no sense to the receiver. */
  broken = false;

  constructor(from: Socket, to: Socket, conditions: Conditions, events: PumpEvents) {
    this.#from = from;
    this.#to = to;
    this.#conditions = conditions;
    this.#events = events;
    from.on("data", (bytes: Buffer) => {
      this.#queue.push({ bytes, arrived: performance.now() });
      this.#queued += bytes.length;
      if (this.#queued >= highWater) from.pause();
      this.#wake?.();
    });
    from.once("end", () => {
      this.#ended = true;
      this.#wake?.();
    });
    // A pump that was stopped ends by an abort; nothing else can go wrong that a socket's own "close" does not report.
    this.#run().catch(() => undefined);
  }

  stop(): void {
    this.#stop.abort();
    this.#wake?.();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await this.#events.released();
      const chunk = this.#queue.shift();
      if (chunk === undefined) {
        if (this.#ended) return await this.#end();
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
        continue;
      }
      await this.#pass(chunk);
      this.#queued -= chunk.bytes.length;
      if (this.#queued < highWater && this.#from.isPaused()) this.#from.resume();
    }
  }

  async #end(): Promise<void> {
    if (this.#conditions.dropping) this.broken = true;
    else this.#to.end();
  }

  async #pass({ bytes, arrived }: Chunk): Promise<void> {
    const { signal } = this.#stop;
    let rest = bytes;
    while (rest.length > 0 && !signal.aborted) {
      const { latencyMs, bytesPerSecond } = this.#conditions;
      const wait = Math.max(arrived + latencyMs, this.#nextAt) - performance.now();
      if (wait > 0 && !this.#conditions.dropping) await delay(wait, undefined, { signal });
      await this.#events.released();
      if (signal.aborted) return;
      if (this.#conditions.dropping) {
        this.broken = true;
        this.#events.dropped(rest.length);
        return;
      }
      const most = Math.max(1, Math.min(this.#conditions.sliceBytes, (bytesPerSecond * tickMs) / 1000));
      const offered = rest.subarray(0, Number.isFinite(most) ? Math.floor(most) : undefined);
      const allowed = this.#events.inspect(offered);
      const piece = offered.subarray(0, allowed);
      rest = rest.subarray(piece.length);
      if (piece.length > 0) await this.#write(piece);
      if (allowed < offered.length) return;
      if (Number.isFinite(bytesPerSecond))
        this.#nextAt = Math.max(this.#nextAt, performance.now()) + (piece.length / bytesPerSecond) * 1000;
      // A turn of the event loop between slices, or the receiver would read several as one.
      if (rest.length > 0 && this.#conditions.sliceBytes < rest.length) await turn(undefined, { signal });
    }
  }

  async #write(piece: Buffer): Promise<void> {
    const to = this.#to;
    const more = to.write(piece);
    this.#events.passed(piece.length);
    if (more || to.destroyed) return;
    await new Promise<void>((resolve) => {
      const done = (): void => {
        to.off("drain", done);
        to.off("close", done);
        resolve();
      };
      to.on("drain", done);
      to.on("close", done);
    });
  }
}
