import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

/** What was asked for. */
export interface FakeAsk {
  /** `SendMessageBatch`, `Publish`, … */
  readonly action: string;
  /** The access key of the signature; "" where nobody signed. */
  readonly accessKeyId: string;
  readonly body: string;
}

/**
 * What AWS would answer in place of the emulator. SQS speaks JSON and SNS speaks XML, both with the same words:
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
 */
export interface FakeAnswer {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

/** `undefined`: the emulator answers. `"cut"`: the emulator does as asked, and the connection ends without an answer. */
export type FakeRule = (ask: FakeAsk) => FakeAnswer | "cut" | undefined;

export const FAKE_ANSWERS = {
  unknownKey: { status: 403, code: "InvalidClientTokenId", message: "The security token included in the request is invalid." },
  wrongSecret: {
    status: 403,
    code: "SignatureDoesNotMatch",
    message: "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key.",
  },
  expired: { status: 403, code: "ExpiredTokenException", message: "The security token included in the request is expired" },
  forbidden: { status: 403, code: "AccessDenied", message: "User is not authorized to perform this action on the resource." },
  throttled: { status: 400, code: "ThrottlingException", message: "Rate exceeded" },
  overLimit: { status: 403, code: "OverLimit", message: "Too many messages in flight: 120000" },
  internal: { status: 500, code: "InternalFailure", message: "We encountered an internal error. Please try again." },
  unavailable: { status: 503, code: "ServiceUnavailable", message: "Service Unavailable" },
} as const satisfies Readonly<Record<string, FakeAnswer>>;

/** A fake of what AWS refuses and no emulator does. Everything that its rule lets through is the emulator's own. */
export interface FakeAws {
  readonly host: string;
  readonly port: number;
  /** What was asked since the start, oldest first. */
  readonly asked: readonly FakeAsk[];
  rule: FakeRule;
  close(): Promise<void>;
}

const host = "127.0.0.1";

function askOf({ headers }: IncomingMessage, body: string): FakeAsk {
  const target = String(headers["x-amz-target"] ?? "");
  const action = target === "" ? (new URLSearchParams(body).get("Action") ?? "") : target.slice(target.indexOf(".") + 1);
  return { action, accessKeyId: /Credential=([^/]*)\//.exec(headers.authorization ?? "")?.[1] ?? "", body };
}

function refuse({ headers }: IncomingMessage, response: ServerResponse, { status, code, message }: FakeAnswer): void {
  if (headers["x-amz-target"] !== undefined) {
    response.writeHead(status, { "content-type": "application/x-amz-json-1.0", "x-amzn-query-error": `${code};Sender` });
    response.end(JSON.stringify({ __type: `com.amazonaws.sqs#${code}`, message }));
    return;
  }
  response.writeHead(status, { "content-type": "text/xml" });
  response.end(
    `<ErrorResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><Error><Type>Sender</Type><Code>${code}</Code>` +
      `<Message>${message}</Message></Error><RequestId>fake</RequestId></ErrorResponse>`,
  );
}

/** Stands in front of an emulator, on a port of its own. */
export async function startFakeAws(
  emulator: { readonly host: string; readonly port: number },
  rule: FakeRule = () => undefined,
): Promise<FakeAws> {
  const asked: FakeAsk[] = [];
  const serve = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const chunks: Buffer[] = [];
    for await (const chunk of incoming as AsyncIterable<Buffer>) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    const ask = askOf(incoming, body.toString());
    asked.push(ask);
    const answer = fake.rule(ask);
    if (answer !== undefined && answer !== "cut") return refuse(incoming, response, answer);
    const { method, url: path, headers } = incoming;
    const onward = request({ host: emulator.host, port: emulator.port, method, path, headers, agent: false });
    response.on("close", () => onward.destroy());
    onward.on("error", () => response.destroy());
    onward.on("response", (back) => {
      if (answer === "cut") return void back.resume().on("end", () => response.destroy());
      response.writeHead(back.statusCode ?? 500, back.headers);
      back.pipe(response);
    });
    onward.end(body);
  };
  const server = createServer((incoming, response) => void serve(incoming, response).catch(() => response.destroy()));
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const fake: FakeAws = {
    host,
    port: (server.address() as AddressInfo).port,
    asked,
    rule,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
  return fake;
}
