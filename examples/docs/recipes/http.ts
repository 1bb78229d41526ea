// #region program
import { createServer, type Server } from "node:http";
import { json } from "node:stream/consumers";
import { type Broker, isBrokerError } from "brokerkit";
import { orders } from "../contracts.ts";

type Answer = readonly [status: number, body?: unknown];

export async function place(broker: Broker<never>, body: unknown, key: string | undefined, signal: AbortSignal): Promise<Answer> {
  try {
    // The schema checks the body before anything is sent, so it may be anything until then.
    const receipt = await broker.topic(orders).publish(body as never, { id: key, timeoutMs: 2_000, signal });
    return [202, { id: receipt.id, duplicate: receipt.duplicate }];
  } catch (error) {
    if (!isBrokerError(error)) throw error;
    if (isBrokerError(error, "INVALID_PAYLOAD")) return [422, error.details.issues];
    if (isBrokerError(error, "INVALID_ARGUMENT")) return [400, error.details]; // such as a key that can't be an id
    if (isBrokerError(error, "TOO_LARGE")) return [413, error.details];
    // In doubt or not, the client may send the same request with the same key again.
    return [error.retryable ? 503 : 500, { inDoubt: error.inDoubt }];
  }
}

export function serve(broker: Broker<never>): Server {
  return createServer(async (request, response) => {
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    const key = request.headers["idempotency-key"];
    const body = await json(request).catch(() => undefined);
    const [status, answer] = body === undefined ? [400] : await place(broker, body, typeof key === "string" ? key : undefined, gone.signal);
    response.writeHead(status, { "content-type": "application/json" }).end(JSON.stringify(answer ?? null));
  });
}
// #endregion
