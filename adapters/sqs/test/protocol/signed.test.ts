import { SNSClient } from "@aws-sdk/client-sns";
import { SQSClient } from "@aws-sdk/client-sqs";
import { expect, test } from "vitest";
import { type Call, newCall, type Outgoing, type Wire } from "../../src/protocol/http.ts";
import { SignedRequests } from "../../src/protocol/signed.ts";
import { soon } from "../stage.ts";

const credentials = { accessKeyId: "id", secretAccessKey: "secret-canary", sessionToken: "token" };

/** Keeps what would go to the network: nobody has an account of AWS in a test. */
function kept(): { readonly wire: Wire; readonly sent: Outgoing[]; readonly calls: Call[] } {
  const sent: Outgoing[] = [];
  const calls: Call[] = [];
  const handle = async (outgoing: Outgoing, call: Call) => {
    sent.push(outgoing);
    calls.push(call);
    return { response: { statusCode: 200, headers: {}, body: Buffer.from("{}") } };
  };
  return { wire: { handle } as unknown as Wire, sent, calls };
}

test.each([
  ["sqs", "eu-west-1", "sqs.eu-west-1.amazonaws.com"],
  ["sqs", "cn-north-1", "sqs.cn-north-1.amazonaws.com.cn"],
  ["sns", "eu-west-1", "sns.eu-west-1.amazonaws.com"],
] as const)("without an endpoint a request goes to the region's own: %s in %s", async (service, region, host) => {
  const client = service === "sqs" ? new SQSClient({ region, credentials }) : new SNSClient({ region, credentials });
  const { wire, sent, calls } = kept();
  const call = newCall(soon());
  await new SignedRequests(wire, client.config).post("application/x-amz-json-1.0", "AmazonSQS.ReceiveMessage", '{"ü":1}', call);
  expect(sent[0]).toMatchObject({ protocol: "https:", hostname: host, path: "/", method: "POST", body: '{"ü":1}' });
  expect(sent[0]?.headers).toMatchObject({ host, "content-length": "8", "x-amz-target": "AmazonSQS.ReceiveMessage" });
  expect(sent[0]?.headers["x-amz-security-token"]).toBe("token");
  expect(sent[0]?.headers["authorization"]).toMatch(
    new RegExp(`Credential=id/\\d{8}/${region}/${service}/aws4_request, SignedHeaders=.*host`),
  );
  expect(JSON.stringify(sent)).not.toContain("canary");
  expect(calls).toEqual([call]);
});

test("credentials that change are used from the next request on", async () => {
  let n = 0;
  const provider = async () => ({ accessKeyId: `id-${++n}`, secretAccessKey: "secret", expiration: new Date(Date.now() + 1) });
  const client = new SQSClient({ region: "eu-west-1", credentials: provider });
  const { wire, sent } = kept();
  const requests = new SignedRequests(wire, client.config);
  for (const _ of [1, 2]) await requests.post("application/x-amz-json-1.0", undefined, "{}", newCall(soon()));
  const used = sent.map(({ headers }) => /Credential=(id-\d+)/.exec(headers["authorization"] ?? "")?.[1]);
  expect(new Set(used).size).toBe(2);
});
