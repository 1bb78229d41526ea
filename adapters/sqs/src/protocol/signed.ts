import type { SNSClient } from "@aws-sdk/client-sns";
import type { SQSClient } from "@aws-sdk/client-sqs";
import type { Call, Incoming, Outgoing, Wire } from "./http.ts";

type Config = SQSClient["config"] | SNSClient["config"];
type Signer = Awaited<ReturnType<Config["signer"]>>;
type Signable = Parameters<Signer["sign"]>[0];

/** Where a service is. */
interface Where {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number | undefined;
  readonly path: string;
}

/**
 * Requests to one service beside the SDK's client, for the calls that are made for each ten messages: of what such a call costs, most is
 * the client's middleware. Endpoint, region, credentials and signature are the client's own.
 */
export class SignedRequests {
  readonly #wire: Wire;
  readonly #config: Config;
  #ready: { readonly where: Where; readonly host: string; readonly signer: Signer } | undefined;

  constructor(wire: Wire, config: Config) {
    this.#wire = wire;
    this.#config = config;
  }

  async post(type: string, target: string | undefined, body: string, call: Call): Promise<Incoming> {
    this.#ready ??= await this.#prepare();
    const { where, host, signer } = this.#ready;
    const headers: Record<string, string> = { "content-type": type, "content-length": String(Buffer.byteLength(body)), host };
    if (target !== undefined) headers["x-amz-target"] = target;
    const request = { ...where, method: "POST", query: {}, headers, body } as Signable;
    const signingDate = new Date(Date.now() + this.#config.systemClockOffset);
    const signed = (await signer.sign(request, { signingDate })) as Outgoing;
    const { response } = await this.#wire.handle(signed, call);
    return response;
  }

  async #prepare(): Promise<{ readonly where: Where; readonly host: string; readonly signer: Signer }> {
    const where = await this.#find();
    const host = where.port === undefined ? where.hostname : `${where.hostname}:${where.port}`;
    return { where, host, signer: await this.#config.signer() };
  }

  /** The endpoint that the client's own requests go to. It has made one before: settings outside of the program are known by then. */
  async #find(): Promise<Where> {
    const config = this.#config;
    if (config.endpoint !== undefined) {
      const { protocol, hostname, port, path } = await config.endpoint();
      return { protocol, hostname, port, path };
    }
    const [Region, UseDualStack, UseFIPS] = await Promise.all([config.region(), config.useDualstackEndpoint(), config.useFipsEndpoint()]);
    const { url } = config.endpointProvider({ Region, UseDualStack, UseFIPS });
    return { protocol: url.protocol, hostname: url.hostname, path: url.pathname };
  }
}
