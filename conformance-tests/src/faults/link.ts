import type { Socket } from "node:net";
import type { Conditions, CutRule, Direction } from "./conditions.ts";
import { Pump } from "./pump.ts";

/** What a link asks of its proxy. */
export interface LinkHost {
  readonly conditions: Readonly<Record<Direction, Conditions>>;
  released(direction: Direction): Promise<void>;
  passed(direction: Direction, count: number): void;
  dropped(direction: Direction, count: number): void;
  /** The rules that still wait for a connection. */
  readonly rules: ReadonlySet<PendingRule>;
  closed(link: Link): void;
}

/** A rule, and whom to tell when it has cut. */
export interface PendingRule {
  readonly rule: CutRule;
  /** Takes the rule out of the set. */
  claim(): void;
  done(): void;
  /** It will not cut any more. */
  drop(): void;
}

const window = 1_024;
const other = (direction: Direction): Direction => (direction === "up" ? "down" : "up");

/** One connection through the proxy: a socket to the client, one to the server, and a pump each way. */
export class Link {
  readonly #client: Socket;
  readonly #server: Socket;
  readonly #host: LinkHost;
  readonly #pumps: readonly Pump[];
  readonly #counts = new Map<PendingRule, number>();
  readonly #before: Record<Direction, Buffer> = { up: Buffer.alloc(0), down: Buffer.alloc(0) };
  /** Cut once bytes of this direction arrive, which are swallowed. */
  #answer: { readonly direction: Direction; readonly rule: PendingRule } | undefined;
  /** One side is gone and the other has not been told. */
  #orphaned = false;
  #over = false;

  constructor(client: Socket, server: Socket, host: LinkHost) {
    this.#client = client;
    this.#server = server;
    this.#host = host;
    for (const socket of [client, server]) {
      socket.setNoDelay(true);
      // "close" follows and says the same.
      socket.on("error", () => undefined);
    }
    client.once("close", () => this.#sideClosed("up"));
    server.once("close", () => this.#sideClosed("down"));
    this.#pumps = [this.#pump("up", client, server), this.#pump("down", server, client)];
  }

  #pump(direction: Direction, from: Socket, to: Socket): Pump {
    return new Pump(from, to, this.#host.conditions[direction], {
      released: () => this.#host.released(direction),
      inspect: (bytes) => this.#inspect(direction, bytes),
      passed: (count) => this.#host.passed(direction, count),
      dropped: (count) => this.#host.dropped(direction, count),
    });
  }

  /** Something of it was swallowed: no honest network goes on with such a connection. */
  get broken(): boolean {
    return this.#orphaned || this.#pumps.some((pump) => pump.broken);
  }

  /** Ends both sides: a plain end, or a reset that also discards what is under way. */
  cut(how: "end" | "reset"): void {
    if (this.#over) return;
    this.#over = true;
    for (const pump of this.#pumps) pump.stop();
    for (const socket of [this.#client, this.#server]) {
      if (how === "reset") socket.resetAndDestroy();
      else socket.destroy();
    }
    this.#host.closed(this);
  }

  #sideClosed(direction: Direction): void {
    if (this.#over) return;
    const to = direction === "up" ? this.#server : this.#client;
    // A side that vanished is not noticed while what it says is swallowed.
    if (this.#host.conditions[direction].dropping && !to.destroyed) {
      this.#orphaned = true;
      return;
    }
    // After an orderly end the pump has passed on the rest and the end; otherwise the other side sees the break.
    const from = direction === "up" ? this.#client : this.#server;
    if (from.readableEnded && !to.destroyed) return;
    this.cut("end");
  }

  #inspect(direction: Direction, bytes: Buffer): number {
    if (this.#over) return 0;
    if (this.#answer?.direction === direction) {
      const { rule } = this.#answer;
      this.cut("reset");
      rule.done();
      return 0;
    }
    if (this.#host.rules.size === 0) return bytes.length;
    let allowed = bytes.length;
    let hit: PendingRule | undefined;
    const seen = Buffer.concat([this.#before[direction], bytes]);
    this.#before[direction] = seen.subarray(-window);
    for (const pending of this.#host.rules) {
      const { rule } = pending;
      if (rule.direction !== direction) continue;
      const count = this.#counts.get(pending) ?? 0;
      this.#counts.set(pending, count + bytes.length);
      const exceeds = rule.bytes !== undefined && count + bytes.length >= rule.bytes;
      if (!exceeds && rule.when?.(seen) !== true) continue;
      hit = pending;
      if (rule.at === "before") allowed = 0;
      else if (exceeds && rule.bytes !== undefined) allowed = rule.bytes - count;
      break;
    }
    if (hit !== undefined) this.#strike(hit, direction);
    return allowed;
  }

  #strike(hit: PendingRule, direction: Direction): void {
    hit.claim();
    this.#counts.clear();
    if (hit.rule.at === "answered") this.#answer = { direction: other(direction), rule: hit };
    else {
      // Behind the write that the pump makes now.
      queueMicrotask(() => this.#finish(hit, direction));
    }
  }

  /** Lets the receiver have what was passed on, and breaks the sender off. */
  #finish(hit: PendingRule, direction: Direction): void {
    if (this.#over) {
      hit.done();
      return;
    }
    const [sender, receiver] = direction === "up" ? [this.#client, this.#server] : [this.#server, this.#client];
    this.#over = true;
    for (const pump of this.#pumps) pump.stop();
    sender.resetAndDestroy();
    // A reset could overtake bytes that the receiver has not read yet.
    receiver.destroySoon();
    this.#host.closed(this);
    hit.done();
  }
}
