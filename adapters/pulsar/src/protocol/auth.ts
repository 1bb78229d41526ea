import { readFile } from "node:fs/promises";

/** How a client says who it is. Data is asked for anew at each connection, and whenever a broker wants it refreshed. */
export interface Authentication {
  /** As the broker's `authenticationProviders` know it: "token", "basic", "tls". */
  readonly method: string;
  data(): Promise<Uint8Array>;
}

/** A JSON Web Token: itself, a function that gives one, or a file that is read each time it is needed. */
export function tokenAuth(token: string | (() => string | Promise<string>) | { readonly file: string }): Authentication {
  return {
    method: "token",
    async data() {
      const text = typeof token === "string" ? token : typeof token === "function" ? await token() : await readFile(token.file, "utf8");
      return Buffer.from(text.trim());
    },
  };
}

/** User and password, kept out of sight of `inspect`. */
export function basicAuth(username: string, password: string): Authentication {
  return { method: "basic", data: async () => Buffer.from(`${username}:${password}`) };
}

/** The client certificate of the TLS options says it all. */
export function tlsAuth(): Authentication {
  return { method: "tls", data: async () => Buffer.alloc(0) };
}
