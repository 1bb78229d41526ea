import { type IncomingMessage, request as overHttp, Agent as PlainAgent } from "node:http";
import { request as overHttps, Agent as SecureAgent } from "node:https";
import type { ConnectionOptions as TlsOptions } from "node:tls";
import type { Authentication } from "./auth.ts";
import { PulsarError } from "./errors.ts";
import { until } from "./waiting.ts";

/** How to be let in, and trust in servers for https. Certificates are always verified. */
export interface RestAccess {
  readonly auth?: Authentication | undefined;
  readonly tls?: TlsOptions | undefined;
}

/** The admin service refused a request. */
export class RestError extends Error {
  override readonly name = "RestError";
  readonly status: number;
  /** The service's own words, shortened; "" where the request did not get as far as the service. They hold no credentials. */
  readonly reason: string;

  constructor(status: number, text: string, reason = "") {
    super(text);
    this.status = status;
    this.reason = reason;
  }
}

/** Several times what the statistics of a topic with thousands of subscriptions take. */
const MAX_ANSWER = 64 * 1_048_576;
const MAX_REDIRECTS = 5;

/** Requests of one admin service. Connections are kept for the next ones, and end with `close`. */
export class RestCalls {
  readonly #base: URL;
  readonly #auth: Authentication | undefined;
  readonly #plain = new PlainAgent({ keepAlive: true });
  readonly #secure: SecureAgent;

  constructor(url: string, { auth, tls }: RestAccess) {
    this.#base = new URL(url);
    this.#auth = auth;
    this.#secure = new SecureAgent({ ...tls, keepAlive: true, rejectUnauthorized: true });
  }

  /**
   * One request; resolves to what was answered, parsed, and `undefined` for an empty answer.
   * @param body JSON text
   * @throws RestError for every status but 2xx, `AuthenticationError` where there are no credentials, Node's own errors for what kept the request from being answered, and the signal's reason
   */
  async send(method: string, path: string, signal: AbortSignal, body?: string): Promise<unknown> {
    const headers = await until(signal, this.#headers(body)).catch((error: unknown) => {
      throw signal.aborted ? signal.reason : error;
    });
    let target = new URL(path, this.#base);
    // A topic's own broker answers for it; the others name that one.
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
      const response = await this.#ask(method, target, headers, signal, body);
      const { statusCode = 0, headers: answered } = response;
      const text = await textOf(response, signal);
      const { location } = answered;
      if (statusCode < 300 || statusCode > 399 || location === undefined) return parsed(statusCode, text);
      const next = new URL(location, target);
      if (!sameService(statusCode, target, next))
        throw new RestError(statusCode, `The request is sent on to ${next.origin}, as no broker does. Is adminUrl a broker's?`);
      target = next;
    }
    throw new RestError(310, `The admin service sent this request on more than ${MAX_REDIRECTS} times.`);
  }

  close(): void {
    this.#plain.destroy();
    this.#secure.destroy();
  }

  async #headers(body: string | undefined): Promise<Readonly<Record<string, string>>> {
    const headers: Record<string, string> = { accept: "application/json" };
    if (body !== undefined) headers["content-type"] = "application/json";
    if (this.#auth === undefined || this.#auth.method === "tls") return headers;
    const data = Buffer.from(await this.#auth.data().catch(unavailable));
    headers["authorization"] = this.#auth.method === "basic" ? `Basic ${data.toString("base64")}` : `Bearer ${data.toString()}`;
    return headers;
  }

  #ask(
    method: string,
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
    body: string | undefined,
  ): Promise<IncomingMessage> {
    return new Promise((resolve, reject) => {
      const secure = url.protocol === "https:";
      const agent = secure ? this.#secure : this.#plain;
      const request = (secure ? overHttps : overHttp)(url, { method, headers, signal, agent });
      request.once("response", resolve);
      request.once("error", (error) => reject(signal.aborted ? signal.reason : error));
      request.end(body);
    });
  }
}

/**
 * Whether a request may be sent on, credentials and all. A broker names the one that serves the topic by 307 and nothing but another host:
 * the same path, over the same protocol. Brokers are not known beforehand, so that is what tells them from a page to log in at. With https the
 * name comes from a server that proved itself, and so must the one that is named; credentials never go from https to http.
 */
function sameService(status: number, from: URL, to: URL): boolean {
  return to.origin === from.origin || (status === 307 && to.protocol === from.protocol && to.pathname === from.pathname);
}

/** What their source says may quote them. */
function unavailable(cause: unknown): never {
  throw new PulsarError("AuthenticationError", "The credentials could not be had: see the cause.", { cause });
}

async function textOf(response: IncomingMessage, signal: AbortSignal): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > MAX_ANSWER) throw new RestError(502, `The admin service answers with more than ${MAX_ANSWER} bytes.`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw signal.aborted ? signal.reason : error;
  }
  return Buffer.concat(chunks).toString();
}

function parsed(status: number, text: string): unknown {
  const value = contentOf(text);
  if (status >= 200 && status < 300) return value;
  const { reason } = Object(value) as { reason?: unknown };
  const said = typeof reason === "string" ? reason.slice(0, 300) : "";
  throw new RestError(status, `The admin service answered ${status}${said === "" ? "" : `: ${said}`}`, said);
}

function contentOf(text: string): unknown {
  if (text === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
