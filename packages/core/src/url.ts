import { isIPv6 } from "node:net";
import { inspect } from "node:util";
import type { BrokerUrl } from "./driver/adapter.ts";
import { invalidArgument } from "./errors.ts";

type Host = BrokerUrl["hosts"][number];

const SCHEME = /^[a-z][a-z0-9+.-]*$/;
const GRAMMAR = "scheme:[//[user[:password]@]host[:port][,host[:port]…]/]path[?option=value&…]";
const HOST_NAME = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?\.?$/;
/** A user, a colon, a password and an "@" where only a path belongs: the "//" before the host is missing. */
const STRAY_CREDENTIALS = /^\/?[^/@]*:[^/@]*@/;
// Spaces and control characters have no place in a URL, written as they are.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not get through
const STRAY = /[\x00-\x20\x7f]/;

/** The parts of a URL. Whatever prints it (inspect, JSON, String, spreading) leaves the credentials out. */
class ParsedUrl implements BrokerUrl {
  readonly scheme: string;
  readonly hosts: readonly Host[];
  readonly path: string;
  readonly options: ReadonlyMap<string, string>;
  readonly #credentials: BrokerUrl["credentials"];

  constructor(
    scheme: string,
    hosts: readonly Host[],
    path: string,
    options: ReadonlyMap<string, string>,
    credentials: BrokerUrl["credentials"],
  ) {
    this.scheme = scheme;
    this.hosts = hosts;
    this.path = path;
    this.options = options;
    this.#credentials = credentials;
    Object.freeze(this);
  }

  get credentials(): BrokerUrl["credentials"] {
    return this.#credentials;
  }

  /** Scheme and hosts, no more: options may hold secrets too. */
  toString(): string {
    const hosts = this.hosts.map(({ host, port }) => (host.includes(":") ? `[${host}]` : host) + (port === undefined ? "" : `:${port}`));
    return hosts.length === 0 ? `${this.scheme}:` : `${this.scheme}://${hosts.join(",")}`;
  }

  toJSON(): string {
    return this.toString();
  }

  [inspect.custom](): string {
    return `BrokerUrl <${this.toString()}>`;
  }
}

/**
 * Parses a broker URL by brokerkit's own grammar: several hosts, `+` in schemes, paths without an authority (`sqlite:orders.db`).
 * Throws `INVALID_ARGUMENT`; its text never holds any part of the URL but the scheme, a host or an option's name.
 */
export function parseUrl(text: string): BrokerUrl {
  if (typeof text !== "string" || text === "") throw invalid(`it must be a text such as "memory:"`);
  const colon = text.indexOf(":");
  const scheme = colon === -1 ? "" : text.slice(0, colon).toLowerCase();
  if (!SCHEME.test(scheme)) throw invalid('it must begin with a scheme and a colon, such as "memory:"');
  const rest = text.slice(colon + 1);
  // In "name:secret@host" the scheme is a user name, so it is not shown.
  const shown = rest.startsWith("//") || !rest.includes("@") ? scheme : undefined;
  if (STRAY.test(text)) throw invalid("it holds a space or control character; write it percent-encoded", shown);
  if (text.includes("#")) throw invalid('it holds a "#", which is no part of it; write it as %23', shown);
  const { authority, tail } = splitAuthority(rest, shown);
  const question = tail.indexOf("?");
  const rawPath = question === -1 ? tail : tail.slice(0, question);
  const path = decode(authority === undefined ? rawPath : rawPath.slice(1), "path", shown);
  const options = parseOptions(question === -1 ? "" : tail.slice(question + 1), shown);
  const { hosts, credentials } = parseAuthority(authority, shown);
  return new ParsedUrl(scheme, hosts, path, options, credentials);
}

function invalid(why: string, scheme?: string): Error {
  const which = scheme === undefined ? "The broker URL" : `The broker URL "${scheme}:…"`;
  return invalidArgument("url", `${which} can't be read: ${why}. Its form is ${GRAMMAR}`);
}

function splitAuthority(rest: string, scheme: string | undefined): { authority: string | undefined; tail: string } {
  if (!rest.startsWith("//")) {
    if (STRAY_CREDENTIALS.test(rest)) throw invalid('a user and password stand where only a path may; write "//" before them', scheme);
    return { authority: undefined, tail: rest };
  }
  const end = rest.slice(2).search(/[/?]/);
  const authority = end === -1 ? rest.slice(2) : rest.slice(2, 2 + end);
  const tail = end === -1 ? "" : rest.slice(2 + end);
  if (authority === "") throw invalid('it has "//" but no host after it; without a host write no "//"', scheme);
  // A password with an unescaped "/" or "?" would otherwise be cut in two and its halves taken for a host and a path.
  if (tail.includes("@")) throw invalid('it holds an "@" after the hosts; write "/", "?" and "@" percent-encoded in all parts', scheme);
  return { authority, tail };
}

function parseAuthority(authority: string | undefined, scheme: string | undefined): Pick<BrokerUrl, "hosts" | "credentials"> {
  if (authority === undefined) return { hosts: Object.freeze([]), credentials: makeCredentials(undefined, undefined) };
  const at = authority.lastIndexOf("@");
  const user = at === -1 ? undefined : authority.slice(0, at);
  if (user?.includes("@")) throw invalid('its user or password holds an "@"; write it as %40', scheme);
  const colon = user?.indexOf(":") ?? -1;
  const username = user === undefined ? undefined : decode(colon === -1 ? user : user.slice(0, colon), "user name", scheme);
  const password = user === undefined || colon === -1 ? undefined : decode(user.slice(colon + 1), "password", scheme);
  const hosts = Object.freeze(
    authority
      .slice(at + 1)
      .split(",")
      .map((host) => parseHost(host, scheme)),
  );
  return { hosts, credentials: makeCredentials(username === "" ? undefined : username, password) };
}

function makeCredentials(username: string | undefined, password: string | undefined): BrokerUrl["credentials"] {
  const hidden = { value: undefined, enumerable: false };
  return Object.freeze(
    Object.defineProperties({}, { username: { ...hidden, value: username }, password: { ...hidden, value: password } }),
  ) as BrokerUrl["credentials"];
}

function parseHost(text: string, scheme: string | undefined): Host {
  const bracketed = /^\[([^\]]*)\](?::(.*))?$/.exec(text);
  const colon = text.indexOf(":");
  const host = bracketed !== null ? bracketed[1] : colon === -1 ? text : text.slice(0, colon);
  const port = bracketed !== null ? bracketed[2] : colon === -1 ? undefined : text.slice(colon + 1);
  if (host === undefined || !(bracketed === null ? HOST_NAME.test(host) : isIPv6(host))) {
    // What stands there may be half a password, so it is not shown.
    throw invalid("a host is missing or is no host name, IPv4 address or [IPv6 address]", scheme);
  }
  if (port !== undefined && !(/^\d{1,5}$/.test(port) && Number(port) >= 1 && Number(port) <= 65_535)) {
    throw invalid("a port is no number from 1 to 65535", scheme);
  }
  return Object.freeze({ host, port: port === undefined ? undefined : Number(port) });
}

function parseOptions(text: string, scheme: string | undefined): ReadonlyMap<string, string> {
  const options = new Map<string, string>();
  if (text === "") return options;
  for (const part of text.split("&")) {
    const equals = part.indexOf("=");
    const name = decode(equals === -1 ? part : part.slice(0, equals), "option's name", scheme);
    if (!/^[A-Za-z0-9_.-]{1,64}$/.test(name)) throw invalid("an option has no name, or one with odd characters", scheme);
    if (equals === -1) throw invalid(`the option "${name}" has no value; write ${name}=…`, scheme);
    if (options.has(name)) throw invalid(`the option "${name}" is given twice`, scheme);
    options.set(name, decode(part.slice(equals + 1), `option "${name}"`, scheme));
  }
  return options;
}

function decode(text: string, what: string, scheme: string | undefined): string {
  if (!text.includes("%")) return text;
  try {
    const decoded = decodeURIComponent(text);
    if (!decoded.includes("\0")) return decoded;
  } catch {
    // The engine's own error would quote what may be a secret.
  }
  throw invalid(`its ${what} holds a "%" that begins no percent-encoded UTF-8 text; write "%" itself as %25`, scheme);
}
