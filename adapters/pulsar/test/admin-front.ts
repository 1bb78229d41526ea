import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { defer } from "./stage.ts";

export interface Front {
  /** Called for each request, which goes on when it resolves. */
  readonly before?: (path: string) => unknown;
  /** What is answered in place of the service's own words. */
  readonly change?: (path: string, text: string) => string;
}

/** A server in front of an admin service. Returns its URL. */
export async function frontOf(admin: string, { before = () => {}, change = (_, text) => text }: Front): Promise<string> {
  const server = createServer(async (request, response) => {
    const { url = "/", method = "GET" } = request;
    const body = Buffer.concat(await request.toArray());
    await before(url);
    const headers = { "content-type": "application/json" };
    const answer = await fetch(new URL(url, admin), { method, ...(body.length === 0 ? {} : { body, headers }) });
    response.writeHead(answer.status).end(change(url, await answer.text()));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  defer(async () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}
