import { connect, createServer, type Server, type Socket } from "node:net";
import { type Conditions, type CutRule, calm, type Direction, type ProxyStatistics } from "./conditions.ts";
import { Link, type LinkHost, type PendingRule } from "./link.ts";
import { type ReservedPort, reservePort } from "./ports.ts";

export interface ProxyTarget {
  readonly host: string;
  readonly port: number;
}

/**
 * A TCP proxy that breaks connections. Faults hold for the connections that are open and for those to come, until they are changed or `heal`
 * is called; where a direction can be given, both are meant by default.
 */
export interface FaultProxy extends AsyncDisposable {
  readonly host: string;
  readonly port: number;
  readonly statistics: ProxyStatistics;
  /** Ends all connections now, on both sides. */
  cut(): void;
  /** Resets all connections now (RST), on both sides; what is under way is discarded. */
  reset(): void;
  /** Cuts one connection at a byte, once. Resolves with true when it has, with false if `heal` or `close` came first. */
  cutWhen(rule: CutRule): Promise<boolean>;
  /** Swallows bytes and ends without closing anything: both ways it is a half-open connection, one way a deaf one. */
  drop(direction?: Direction): void;
  /** Holds everything back; nothing is lost, and senders feel the back-pressure. */
  pause(direction?: Direction): void;
  /** Ends `pause`, in both directions. */
  resume(): void;
  /** Makes every byte late, by milliseconds; 0 ends it. */
  latency(ms: number, direction?: Direction): void;
  /** Limits each connection to bytes a second; `undefined` ends it. */
  bandwidth(bytesPerSecond: number | undefined, direction?: Direction): void;
  /** Passes bytes on in writes of at most so many; `undefined` ends it. */
  slice(bytes: number | undefined, direction?: Direction): void;
  /** New connections are refused, as if nothing listened; open ones go on. */
  refuse(): void;
  /** Ends `refuse`. */
  accept(): Promise<void>;
  /** Ends every fault. Connections that have lost bytes are reset: no network would go on with them. */
  heal(): Promise<void>;
  /** Stops listening and cuts everything. A second call does nothing. */
  close(): Promise<void>;
}

const host = "127.0.0.1";
const both: readonly Direction[] = ["up", "down"];

class TcpProxy implements FaultProxy, LinkHost {
  readonly host = host;
  readonly conditions: Readonly<Record<Direction, Conditions>> = { up: calm(), down: calm() };
  readonly rules = new Set<PendingRule>();
  readonly #target: ProxyTarget;
  readonly #reserved: ReservedPort;
  readonly #links = new Set<Link>();
  /** Accepted, but not connected to the target yet. */
  readonly #waiting = new Set<Socket>();
  readonly #bytes = { up: { passed: 0, dropped: 0 }, down: { passed: 0, dropped: 0 } };
  #server: Server | undefined;
  #accepted = 0;
  #cut = 0;
  #released: Array<() => void> = [];
  #closed = false;

  constructor(target: ProxyTarget, reserved: ReservedPort) {
    this.#target = target;
    this.#reserved = reserved;
  }

  get port(): number {
    return this.#reserved.port;
  }

  get statistics(): ProxyStatistics {
    const { up, down } = this.#bytes;
    return { accepted: this.#accepted, open: this.#links.size, cut: this.#cut, up: { ...up }, down: { ...down } };
  }

  async released(direction: Direction): Promise<void> {
    while (this.conditions[direction].paused && !this.#closed) await new Promise<void>((resolve) => this.#released.push(resolve));
  }

  passed(direction: Direction, count: number): void {
    this.#bytes[direction].passed += count;
  }

  dropped(direction: Direction, count: number): void {
    this.#bytes[direction].dropped += count;
  }

  closed(link: Link): void {
    this.#links.delete(link);
  }

  #break(how: "end" | "reset"): void {
    for (const link of [...this.#links]) {
      this.#cut++;
      link.cut(how);
    }
    for (const socket of this.#waiting) socket.resetAndDestroy();
  }

  cut(): void {
    this.#break("end");
  }

  reset(): void {
    this.#break("reset");
  }

  cutWhen(rule: CutRule): Promise<boolean> {
    if (rule.bytes === undefined && rule.when === undefined) throw new TypeError("a cut needs a number of bytes or a condition");
    return new Promise((resolve) => {
      const pending: PendingRule = {
        rule,
        claim: () => this.rules.delete(pending),
        done: () => {
          this.#cut++;
          resolve(true);
        },
        drop: () => resolve(false),
      };
      this.rules.add(pending);
    });
  }

  #set(direction: Direction | undefined, change: (conditions: Conditions) => void): void {
    for (const one of direction === undefined ? both : [direction]) change(this.conditions[one]);
    const waiting = this.#released;
    this.#released = [];
    for (const tell of waiting) tell();
  }

  drop(direction?: Direction): void {
    this.#set(direction, (conditions) => {
      conditions.dropping = true;
    });
  }

  pause(direction?: Direction): void {
    this.#set(direction, (conditions) => {
      conditions.paused = true;
    });
  }

  resume(): void {
    this.#set(undefined, (conditions) => {
      conditions.paused = false;
    });
  }

  latency(ms: number, direction?: Direction): void {
    this.#set(direction, (conditions) => {
      conditions.latencyMs = ms;
    });
  }

  bandwidth(bytesPerSecond: number | undefined, direction?: Direction): void {
    this.#set(direction, (conditions) => {
      conditions.bytesPerSecond = bytesPerSecond ?? Number.POSITIVE_INFINITY;
    });
  }

  slice(bytes: number | undefined, direction?: Direction): void {
    this.#set(direction, (conditions) => {
      conditions.sliceBytes = bytes ?? Number.POSITIVE_INFINITY;
    });
  }

  refuse(): void {
    this.#server?.close();
    this.#server = undefined;
  }

  async accept(): Promise<void> {
    if (this.#server !== undefined) return;
    if (this.#closed) throw new Error("the proxy is closed");
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => this.#connected(client));
    this.#server = server;
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ port: this.port, host }, resolve);
    });
  }

  #connected(client: Socket): void {
    this.#accepted++;
    this.#waiting.add(client);
    const server = connect({ ...this.#target, allowHalfOpen: true });
    const refused = (): void => {
      this.#waiting.delete(client);
      server.destroy();
      client.resetAndDestroy();
    };
    client.once("close", refused);
    client.on("error", () => undefined);
    server.once("error", refused);
    server.once("connect", () => {
      client.off("close", refused);
      server.off("error", refused);
      this.#waiting.delete(client);
      this.#links.add(new Link(client, server, this));
    });
  }

  #forgetRules(): void {
    for (const pending of this.rules) pending.drop();
    this.rules.clear();
  }

  async heal(): Promise<void> {
    this.#forgetRules();
    this.#set(undefined, (conditions) => Object.assign(conditions, calm()));
    for (const link of [...this.#links]) if (link.broken) link.cut("reset");
    await this.accept();
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.refuse();
    this.#forgetRules();
    for (const link of [...this.#links]) link.cut("end");
    for (const socket of this.#waiting) socket.destroy();
    this.#set(undefined, () => undefined);
    await this.#reserved.release();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Starts a proxy on a free port of the loopback address. The target need not be there yet: it is dialled for each connection. */
export async function startProxy(target: ProxyTarget): Promise<FaultProxy> {
  const reserved = await reservePort();
  const proxy = new TcpProxy({ host: target.host, port: target.port }, reserved);
  await proxy.accept();
  return proxy;
}
