import { isUtf8 } from "node:buffer";
import type { WireHeader, WireRecord } from "brokerkit/driver";

/** An attribute of a message, as SQS and SNS have it. */
export interface Attribute {
  readonly DataType?: string | undefined;
  readonly StringValue?: string | undefined;
  /** Base64. */
  readonly BinaryValue?: string | undefined;
}

export interface Encoded {
  readonly text: string;
  readonly attributes: Record<string, { DataType: string; StringValue?: string; BinaryValue?: string }>;
  /** As AWS counts: the body, and of attributes name, type and value. */
  readonly bytes: number;
}

/** What we say of a message beside its body, as JSON in one attribute. */
interface Meta {
  readonly id: string;
  /** When it was published, epoch ms. */
  readonly at: number;
  readonly key?: string;
  /** A key that is no text. */
  readonly key64?: string;
  /** A body that can't be a text of SQS, which is neither empty nor binary. */
  readonly body?: "binary" | "empty" | "null";
  readonly inbox?: 1;
  readonly failures?: number;
  /** Not to be handed out before, epoch ms. */
  readonly due?: number;
  /** All headers in order: a name alone for what is an attribute of that name; a value that is no text in base64, marked by 1. */
  readonly headers?: readonly (string | readonly [name: string, text: string] | readonly [name: string, base64: string, 1])[];
}

const META = "brokerkit";
const BODY = "brokerkit.body";
/** Ten attributes are all there are. */
const MAX_PROMOTED = 8;
/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html */
const ATTRIBUTE = /^(?!aws\.|amazon\.|brokerkit(?:\.body)?$)[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/i;
/** Not allowed in a text of SQS: https://www.w3.org/TR/REC-xml/#charsets. Halves of pairs do not come out of UTF-8. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what it looks for
const ILLEGAL = /[\0-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]/;
const ILLEGAL_JSON = /[\ufffe\uffff]/g;
/** Stands where SQS wants a body. */
const NO_TEXT = "-";

/** Text that SQS takes; `undefined` for all other bytes. */
function legalText(bytes: Uint8Array): string | undefined {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (buffer.length === 0 || !isUtf8(buffer)) return undefined;
  const text = buffer.toString();
  return ILLEGAL.test(text) ? undefined : text;
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}

/** A record as a message. `dueMs`: when it is due, where the queue is not told to wait. */
export function encode(record: WireRecord, dueMs: number | undefined): Encoded {
  const { id, key, headers, body, publishedAt, target, failures } = record;
  const attributes: Encoded["attributes"] = {};
  let bytes = 0;
  const attribute = (name: string, value: string | Uint8Array): void => {
    const text = typeof value === "string";
    attributes[name] = text ? { DataType: "String", StringValue: value } : { DataType: "Binary", BinaryValue: base64(value) };
    bytes += name.length + 6 + (text ? Buffer.byteLength(value) : value.byteLength);
  };
  const text = body === null ? undefined : legalText(body);
  const kept = text !== undefined ? undefined : body === null ? "null" : body.byteLength === 0 ? "empty" : "binary";
  if (kept === "binary") attribute(BODY, body as Uint8Array);
  let meta = `{"id":${JSON.stringify(id)},"at":${publishedAt}`;
  if (key !== undefined) {
    const keyText = key.byteLength === 0 ? "" : legalText(key);
    meta += keyText === undefined ? `,"key64":"${base64(key)}"` : `,"key":${JSON.stringify(keyText)}`;
  }
  if (kept !== undefined) meta += `,"body":"${kept}"`;
  if (target.group !== undefined) meta += `,"inbox":1`;
  if (failures !== undefined) meta += `,"failures":${failures}`;
  if (dueMs !== undefined) meta += `,"due":${Math.ceil(dueMs)}`;
  if (headers.length > 0) meta += `,"headers":${JSON.stringify(packed(headers, attributes, attribute))}`;
  attribute(
    META,
    `${meta}}`.replaceAll(ILLEGAL_JSON, (char) => `\\u${char.charCodeAt(0).toString(16)}`),
  );
  const shown = text ?? NO_TEXT;
  return { text: shown, attributes, bytes: bytes + Buffer.byteLength(shown) };
}

/** The first headers that can be attributes become attributes; the list keeps the order of all. */
function packed(
  headers: readonly WireHeader[],
  attributes: Encoded["attributes"],
  attribute: (name: string, text: string) => void,
): NonNullable<Meta["headers"]> {
  let promoted = 0;
  return headers.map(([name, value]) => {
    const text = value.byteLength === 0 ? "" : legalText(value);
    if (text === undefined) return [name, base64(value), 1];
    if (promoted >= MAX_PROMOTED || text === "" || attributes[name] !== undefined || !ATTRIBUTE.test(name)) return [name, text];
    promoted++;
    attribute(name, text);
    return name;
  });
}

/** A message's own part of a delivery. */
export interface Decoded {
  readonly id: string | undefined;
  readonly key: Uint8Array | undefined;
  readonly headers: readonly WireHeader[];
  readonly body: Uint8Array | null;
  readonly publishedAt: number | undefined;
  readonly failures: number;
  readonly inbox: boolean;
  readonly dueMs: number | undefined;
}

const EMPTY = new Uint8Array(0);

/** What came, ours or a stranger's: attributes of strangers are headers. */
export function decode(text: string, attributes: Readonly<Record<string, Attribute>> | undefined): Decoded {
  const meta = metaOf(attributes?.[META]?.StringValue);
  const headers: WireHeader[] = [];
  for (const entry of meta?.headers ?? []) {
    if (typeof entry !== "string") headers.push([entry[0], Buffer.from(entry[1], entry[2] === 1 ? "base64" : "utf8")]);
    else if (attributes?.[entry] !== undefined) headers.push([entry, bytesOf(attributes[entry])]);
  }
  const known = new Set(meta?.headers?.filter((entry) => typeof entry === "string"));
  for (const name in attributes) {
    if ((meta !== undefined && (name === META || name === BODY)) || known.has(name)) continue;
    headers.push([name, bytesOf(attributes[name] as Attribute)]);
  }
  if (meta === undefined) {
    const body = Buffer.from(text);
    return { id: undefined, key: undefined, headers, body, publishedAt: undefined, failures: 0, inbox: false, dueMs: undefined };
  }
  const { id, at, key, key64, body, failures = 0, inbox, due } = meta;
  return {
    id,
    key: key64 !== undefined ? Buffer.from(key64, "base64") : key === undefined ? undefined : Buffer.from(key),
    headers,
    body:
      body === undefined
        ? Buffer.from(text)
        : body === "null"
          ? null
          : body === "empty"
            ? EMPTY
            : Buffer.from(attributes?.[BODY]?.BinaryValue ?? "", "base64"),
    publishedAt: at,
    failures,
    inbox: inbox === 1,
    dueMs: due,
  };
}

function bytesOf({ StringValue, BinaryValue }: Attribute): Uint8Array {
  return BinaryValue === undefined ? Buffer.from(StringValue ?? "") : Buffer.from(BinaryValue, "base64");
}

/** `undefined` for what is none of ours: a stranger may use the name. */
function metaOf(text: string | undefined): Meta | undefined {
  if (text === undefined) return undefined;
  let meta: Partial<Meta> | null;
  try {
    meta = JSON.parse(text) as Partial<Meta> | null;
  } catch {
    return undefined;
  }
  if (typeof meta !== "object" || meta === null) return undefined;
  const { id, at, key, key64, failures, due, headers } = meta;
  const texts = [id ?? 0, key ?? "", key64 ?? ""].every((value) => typeof value === "string");
  const numbers = [at, failures ?? 0, due ?? 0].every((value) => Number.isFinite(value));
  return texts && numbers && (headers === undefined || areHeaders(headers)) ? (meta as Meta) : undefined;
}

function areHeaders(headers: unknown): boolean {
  if (!Array.isArray(headers)) return false;
  return headers.every(
    (entry: unknown) => typeof entry === "string" || (Array.isArray(entry) && typeof entry[0] === "string" && typeof entry[1] === "string"),
  );
}
