import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { CreateTopicCommand, ListTopicsCommand, PublishCommand, SubscribeCommand } from "@aws-sdk/client-sns";
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  type SQSClient,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import { type BrokerRecipe, makeCertificates, type RunningBroker, startBroker } from "@brokerkit/conformance/brokers";
import { expect, onTestFinished, test } from "vitest";
import { FAKE_ANSWERS } from "../fake-aws.ts";
import { elasticmq, fauxqs } from "../recipe.ts";
import { faked, plain, startServer, until } from "./stage.ts";

async function queue(client: SQSClient, QueueName: string, Attributes: Record<string, string> = {}): Promise<string> {
  return (await client.send(new CreateQueueCommand({ QueueName, Attributes }))).QueueUrl ?? "";
}

async function waiting(client: SQSClient, QueueUrl: string): Promise<number> {
  const names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
  const { Attributes } = await client.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...names] }));
  return names.reduce((sum, name) => sum + Number(Attributes?.[name]), 0);
}

test.each<[string, BrokerRecipe, string, string]>([
  ["fauxqs", fauxqs, "sqs", "fauxqs 2.4.1"],
  ["ElasticMQ", elasticmq, "elasticmq", "ElasticMQ 1.6.14"],
])(
  "%s serves, tells its version, and what it confirmed is there after a kill in the midst of sending",
  { timeout: 60_000 },
  async (_, recipe, name, version) => {
    const broker = await startServer(recipe);
    expect(broker).toMatchObject({ name, version, source: "process" });
    const { sqs } = plain(broker);
    const QueueUrl = await queue(sqs, "kept");
    let confirmed = 0;
    const Entries = Array.from({ length: 10 }, (_, n) => ({ Id: `${n}`, MessageBody: `m-${n}` }));
    const lane = async (): Promise<void> => {
      for (;;) {
        const { Successful } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries }));
        confirmed += Successful?.length ?? 0;
      }
    };
    const lanes = Promise.allSettled([lane(), lane(), lane()]);
    await until(() => confirmed >= 300, "300 confirmed messages");
    await broker.kill();
    await lanes;
    await broker.restart();
    const there = await waiting(sqs, QueueUrl);
    expect(there).toBeGreaterThanOrEqual(confirmed);
    expect(there).toBeLessThanOrEqual(confirmed + 30);
  },
);

test("a topic and its subscription outlive a kill too", async () => {
  const broker = await startServer();
  const { sqs, sns } = plain(broker);
  const QueueUrl = await queue(sqs, "subscribed");
  const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: "kept" }));
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
  const raw = { Attributes: { RawMessageDelivery: "true" } };
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: Attributes?.["QueueArn"], ...raw }));
  await broker.kill();
  await broker.restart();
  expect((await sns.send(new ListTopicsCommand({}))).Topics).toEqual([{ TopicArn }]);
  await sns.send(new PublishCommand({ TopicArn, Message: "after" }));
  const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
  expect(Messages?.map(({ Body }) => Body)).toEqual(["after"]);
});

test("with certificates it is reached by TLS, by the given chain", async () => {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  const at = await makeCertificates(folder, "127.0.0.1");
  const broker = await startServer(fauxqs, { tls: at });
  expect(broker).toMatchObject({ version: "fauxqs 2.4.1", url: `sqs://127.0.0.1:${broker.port}?region=us-east-1` });
  const socket = connect({ host: "127.0.0.1", port: broker.port, ca: await readFile(join(at, "ca.pem")) });
  await new Promise((resolve, reject) => socket.once("secureConnect", () => resolve(undefined)).once("error", reject));
  socket.destroy();
});

test("ElasticMQ moves dead letters back by itself", { timeout: 30_000 }, async () => {
  const broker: RunningBroker = await startServer(elasticmq);
  const { sqs } = plain(broker);
  const arn = (name: string): string => `arn:aws:sqs:us-east-1:000000000000:${name}`;
  const dead = await queue(sqs, "dead");
  const live = await queue(sqs, "live", { RedrivePolicy: JSON.stringify({ deadLetterTargetArn: arn("dead"), maxReceiveCount: "5" }) });
  await sqs.send(new SendMessageCommand({ QueueUrl: dead, MessageBody: "again" }));
  await sqs.send(new StartMessageMoveTaskCommand({ SourceArn: arn("dead"), DestinationArn: arn("live") }));
  await until(async () => (await waiting(sqs, live)) === 1, "the message in its old queue");
  expect(await waiting(sqs, dead)).toBe(0);
});

test("a misspelt option is refused", async () => {
  for (const recipe of [fauxqs, elasticmq]) {
    await expect(startBroker(recipe, { destructive: true, options: { tsl: "x" } })).rejects.toThrow(/there is no option "tsl" for tests/);
  }
});

test("the fake refuses by its rule, in the words of SQS and of SNS, and passes on everything else", async () => {
  const fake = await faked(await startServer());
  const { sqs, sns } = plain(fake);
  const QueueUrl = await queue(sqs, "faked");
  const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: "faked" }));
  const send = (): Promise<unknown> => sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: "x" }));
  const publish = (): Promise<unknown> => sns.send(new PublishCommand({ TopicArn, Message: "x" }));
  await send();
  await publish();
  expect(fake.asked.map(({ action, accessKeyId }) => [action, accessKeyId])).toEqual(
    ["CreateQueue", "CreateTopic", "SendMessage", "Publish"].map((action) => [action, "test"]),
  );
  for (const { status, code } of [FAKE_ANSWERS.throttled, FAKE_ANSWERS.forbidden, FAKE_ANSWERS.unavailable]) {
    fake.rule = ({ action }) => (["SendMessage", "Publish"].includes(action) ? { status, code, message: "no" } : undefined);
    const refused = { name: code, $metadata: { httpStatusCode: status } };
    await expect(send()).rejects.toMatchObject(refused);
    await expect(publish()).rejects.toMatchObject(refused);
    expect(await waiting(sqs, QueueUrl)).toBe(1);
  }
  fake.rule = ({ action }) => (action === "SendMessage" ? "cut" : undefined);
  await expect(send()).rejects.toThrow();
  fake.rule = () => undefined;
  expect(await waiting(sqs, QueueUrl)).toBe(2);
});
