import { serviceError } from "../errors.ts";
import type { Call, Incoming } from "./http.ts";
import type { Attribute, Encoded } from "./message.ts";
import type { SignedRequests } from "./signed.ts";

/** What a batch's answer says of an entry that failed. */
export interface FailedEntry {
  readonly Id: string;
  readonly Code: string;
  readonly Message?: string | undefined;
  readonly SenderFault?: boolean | undefined;
}

export interface BatchAnswer {
  readonly Successful?: readonly { readonly Id: string }[] | undefined;
  readonly Failed?: readonly FailedEntry[] | undefined;
}

/** A message as `ReceiveMessage` answers. */
export interface Message {
  readonly MessageId?: string | undefined;
  readonly ReceiptHandle?: string | undefined;
  readonly Body?: string | undefined;
  readonly Attributes?: Readonly<Record<string, string>> | undefined;
  readonly MessageAttributes?: Readonly<Record<string, Attribute>> | undefined;
}

interface Actions {
  SendMessageBatch: BatchAnswer;
  DeleteMessageBatch: BatchAnswer;
  ChangeMessageVisibilityBatch: BatchAnswer;
  ReceiveMessage: { readonly Messages?: readonly Message[] | undefined };
}

/** SQS speaks JSON: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html */
export async function askQueue<A extends keyof Actions>(to: SignedRequests, action: A, input: object, call: Call): Promise<Actions[A]> {
  const answer = await to.post("application/x-amz-json-1.0", `AmazonSQS.${action}`, JSON.stringify(input), call);
  if (answer.statusCode === 200) return JSON.parse(answer.body.toString()) as Actions[A];
  throw jsonError(answer);
}

function jsonError({ statusCode, headers, body }: Incoming): Error {
  let said: { readonly __type?: unknown; readonly message?: unknown; readonly Message?: unknown } = {};
  try {
    said = Object(JSON.parse(body.toString())) as typeof said;
  } catch {
    // Something between us and the service answered: its status says enough.
  }
  const [queryName] = (headers["x-amzn-query-error"] ?? "").split(";");
  const name = typeof said.__type === "string" ? said.__type : queryName;
  return serviceError(name, said.message ?? said.Message, statusCode);
}

export interface TopicEntry {
  readonly Id: string;
  readonly Message: string;
  readonly MessageAttributes: Encoded["attributes"];
  readonly MessageGroupId?: string | undefined;
  readonly MessageDeduplicationId?: string | undefined;
}

/** SNS takes forms and answers in XML: https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html */
export async function publishBatch(to: SignedRequests, arn: string, entries: readonly TopicEntry[], call: Call): Promise<BatchAnswer> {
  const answer = await to.post("application/x-www-form-urlencoded; charset=utf-8", undefined, form(arn, entries), call);
  const xml = answer.body.toString();
  if (answer.statusCode !== 200) throw serviceError(textOf(xml, "Code"), textOf(xml, "Message"), answer.statusCode);
  const Successful = members(xml, "Successful").map((member) => ({ Id: textOf(member, "Id") ?? "" }));
  const Failed = members(xml, "Failed").map((member) => ({
    Id: textOf(member, "Id") ?? "",
    Code: textOf(member, "Code") ?? "",
    Message: textOf(member, "Message"),
    SenderFault: textOf(member, "SenderFault") === "true",
  }));
  return { Successful, Failed };
}

function form(arn: string, entries: readonly TopicEntry[]): string {
  let text = `Action=PublishBatch&Version=2010-03-31&TopicArn=${encodeURIComponent(arn)}`;
  const field = (name: string, value: string | undefined): void => {
    if (value !== undefined) text += `&${name}=${encodeURIComponent(value)}`;
  };
  for (const [n, entry] of entries.entries()) {
    const member = `PublishBatchRequestEntries.member.${n + 1}`;
    field(`${member}.Id`, entry.Id);
    field(`${member}.Message`, entry.Message);
    field(`${member}.MessageGroupId`, entry.MessageGroupId);
    field(`${member}.MessageDeduplicationId`, entry.MessageDeduplicationId);
    let at = 0;
    for (const name in entry.MessageAttributes) {
      const attribute = `${member}.MessageAttributes.entry.${++at}`;
      const { DataType, StringValue, BinaryValue } = entry.MessageAttributes[name] as Attribute;
      field(`${attribute}.Name`, name);
      field(`${attribute}.Value.DataType`, DataType);
      field(`${attribute}.Value.StringValue`, StringValue);
      field(`${attribute}.Value.BinaryValue`, BinaryValue);
    }
  }
  return text;
}

function members(xml: string, list: string): string[] {
  const [, inner = ""] = new RegExp(`<${list}>([\\s\\S]*?)</${list}>`).exec(xml) ?? [];
  return [...inner.matchAll(/<member>([\s\S]*?)<\/member>/g)].map(([, member = ""]) => member);
}

const ENTITIES: Readonly<Record<string, string>> = { "&lt;": "<", "&gt;": ">", "&quot;": '"', "&apos;": "'", "&amp;": "&" };

function textOf(xml: string, element: string): string | undefined {
  const text = new RegExp(`<${element}>([^<]*)</${element}>`).exec(xml)?.[1];
  return text?.replaceAll(/&(?:lt|gt|quot|apos|amp);/g, (entity) => ENTITIES[entity] ?? entity);
}
