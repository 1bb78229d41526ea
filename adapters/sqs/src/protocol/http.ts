import { Agent as HttpAgent, type IncomingHttpHeaders, request as requestHttp } from "node:http";
import { Agent as HttpsAgent, request as requestHttps } from "node:https";
import type { Socket } from "node:net";
import { unavailable } from "../errors.ts";
import type { Settings } from "../options.ts";

/** What the SDK hands to its HTTP handler. */
export interface Outgoing {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly method: string;
  readonly path: string;
  readonly query?: object | undefined;
  readonly headers: Record<string, string>;
  readonly body?: string | Uint8Array | undefined;
}

export interface Incoming {
  readonly statusCode: number;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** One request. The SDK passes it through to the handler below, which notes how far it came. */
export interface Call {
  readonly abortSignal: AbortSignal;
  /** Beside the server's usual silence: how long it was asked to wait. */
  readonly waitMs: number;
  /** Bytes may have reached the network. */
  left: boolean;
}

export function newCall(abortSignal: AbortSignal, waitMs: number = 0): Call {
  return { abortSignal, waitMs, left: false };
}

/**
 * The SDK's way to the network, one attempt per request. In place of the SDK's own handler, which can't say whether anything was sent;
 * and it needs one timer of the socket's for each request in place of four.
 */
export class Wire {
  readonly metadata: { readonly handlerProtocol: string } = { handlerProtocol: "http/1.1" };
  readonly #http: HttpAgent;
  readonly #https: HttpsAgent;
  readonly #timeoutMs: number;
  readonly #idleClosed: () => void;
  readonly #busy = new WeakSet<Socket>();

  constructor({ timeoutMs, tls = {} }: Settings, maxSockets: number, idleClosed: () => void) {
    const { ca, cert, key, passphrase, servername } = tls;
    const options = { keepAlive: true, maxSockets, noDelay: true };
    this.#http = new HttpAgent(options);
    const own = Object.entries({ ca, cert, key, passphrase, servername }).filter(([, value]) => value !== undefined);
    this.#https = new HttpsAgent({ ...options, ...Object.fromEntries(own) });
    this.#timeoutMs = timeoutMs;
    this.#idleClosed = idleClosed;
  }

  handle(outgoing: Outgoing, options: object = {}): Promise<{ response: Incoming }> {
    const call = options as Call;
    const { abortSignal, waitMs = 0 } = call;
    return new Promise((resolve, reject) => {
      if (abortSignal?.aborted) return reject(aborted(abortSignal));
      const { hostname, port, method, path, headers, body } = outgoing;
      const secure = outgoing.protocol === "https:";
      const host = hostname.startsWith("[") ? hostname.slice(1, -1) : hostname;
      const timeout = this.#timeoutMs + waitMs;
      const where = { host, port, method, path, headers, timeout, agent: secure ? this.#https : this.#http };
      const request = secure ? requestHttps(where) : requestHttp(where);
      const abort = (): void => void request.destroy(aborted(abortSignal));
      const fail = (error: Error): void => {
        abortSignal?.removeEventListener("abort", abort);
        reject(error);
      };
      abortSignal?.addEventListener("abort", abort, { once: true });
      request.on("socket", (socket) => {
        this.#busy.add(socket);
        request.once("close", () => this.#busy.delete(socket));
        if (!socket.connecting) {
          call.left = true;
          return;
        }
        socket.once(secure ? "secureConnect" : "connect", () => {
          call.left = true;
        });
        socket.once("close", () => {
          if (!this.#busy.has(socket)) this.#idleClosed();
        });
      });
      request.on("timeout", () => request.destroy(unavailable(`The server has said nothing for ${timeout} ms.`)));
      request.on("error", fail);
      request.on("response", (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        // A body cut short is an error here, never an "end".
        response.on("error", fail);
        response.on("end", () => {
          abortSignal?.removeEventListener("abort", abort);
          const body = chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks);
          resolve({ response: { statusCode: response.statusCode ?? 0, headers: flat(response.headers), body } });
        });
      });
      request.end(body);
    });
  }

  updateHttpClientConfig(): void {}

  httpHandlerConfigs(): object {
    return {};
  }

  destroy(): void {
    this.#http.destroy();
    this.#https.destroy();
  }
}

function flat(headers: IncomingHttpHeaders): Record<string, string> {
  return Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : (value ?? "")]),
  );
}

function aborted(signal: AbortSignal): Error {
  return Object.assign(new Error("The request was aborted.", { cause: signal.reason }), { name: "AbortError" });
}
