import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

const OUTAGE: Classified = { code: "UNAVAILABLE", retryable: true };
/** Over a limit that passes by itself. */
const FULL: Classified = { code: "QUOTA_EXCEEDED", retryable: true };
const fatal = (code: ErrorCode): Classified => ({ code, retryable: false });

/**
 * By the service's name for the error, without a namespace before and "Exception" or "Error" behind it.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html and each action's own errors.
 */
const NAMES: ReadonlyMap<string, Classified> = new Map(
  (
    [
      [fatal("NOT_FOUND"), "QueueDoesNotExist NonExistentQueue NotFound ResourceNotFound"],
      [fatal("UNAUTHENTICATED"), "InvalidClientTokenId UnrecognizedClient SignatureDoesNotMatch IncompleteSignature InvalidAccessKeyId"],
      [
        fatal("UNAUTHENTICATED"),
        "InvalidSecurity MissingAuthenticationToken ExpiredToken RequestExpired CredentialsProvider TokenProvider",
      ],
      [fatal("FORBIDDEN"), "AccessDenied Authorization NotAuthorized OptInRequired KmsAccessDenied KMSAccessDenied"],
      [FULL, "OverLimit QueueDeletedRecently PurgeQueueInProgress ConcurrentAccess"],
      [fatal("QUOTA_EXCEEDED"), "TopicLimitExceeded SubscriptionLimitExceeded"],
      [fatal("TOO_LARGE"), "BatchRequestTooLong"],
      [fatal("UNSUPPORTED"), "UnsupportedOperation"],
      [fatal("INVALID_ARGUMENT"), "InvalidMessageContents InvalidParameter InvalidParameterValue InvalidAttributeValue QueueNameExists"],
      [fatal("ABORTED"), "Abort"],
      [OUTAGE, "RequestThrottled KmsThrottled KMSThrottling Throttled Throttling ThrottledRequest TooManyRequests RequestLimitExceeded"],
      [OUTAGE, "SlowDown ServiceUnavailable InternalFailure Internal RequestTimeout"],
    ] as const
  ).flatMap(([classified, names]) => names.split(" ").map((name) => [name, classified] as const)),
);
const THROTTLED = /Throttl|TooManyRequests|RequestLimitExceeded|SlowDown/;

/** What a message says where a name says little: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html */
const TEXTS: readonly (readonly [RegExp, Classified])[] = [
  [/must be shorter than|message too long|longer than the maximum/i, fatal("TOO_LARGE")],
  [/Region is missing/, fatal("INVALID_ARGUMENT")],
];
const BY_STATUS: Readonly<Record<number, Classified>> = {
  401: fatal("UNAUTHENTICATED"),
  403: fatal("FORBIDDEN"),
  404: fatal("NOT_FOUND"),
  413: fatal("TOO_LARGE"),
  429: OUTAGE,
};

/** Node's names for "this certificate proves nothing": https://nodejs.org/api/tls.html#x509-certificate-error-codes */
const CERTIFICATE =
  /^(CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_|ERR_TLS_CERT_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)|ALERT_(CERTIFICATE|UNKNOWN_CA|BAD_CERT)/;
const NETWORK = /^(E[A-Z_]+|ERR_SSL_.*|ERR_SOCKET_.*|ERR_STREAM_.*|HPE_.*)$/;
/** These receipts are no longer worth anything: the message was received again, settled, or its visibility time-out has passed. */
const STALE = /ReceiptHandleIsInvalid|MessageNotInflight/;
const STALE_TEXT =
  /receipt handle (has expired|is invalid)|not available for visibility timeout change|does not refer to an? (existing|inflight)/i;

interface AwsError extends Error {
  readonly code?: unknown;
  readonly driverCode?: DriverError["driverCode"];
  readonly $metadata?: { readonly httpStatusCode?: number };
}

function nameOf(error: Error): string {
  return error.name.replace(/^.*[.#]/, "").replace(/(Exception|Error|Fault)+$/, "");
}

/** By the driver's own code, the text, the service's name, Node's code, the HTTP status; what is not known is INTERNAL. */
export function classify(error: unknown): Classified {
  if (!(error instanceof Error)) return fatal("INTERNAL");
  const { driverCode, code, message, $metadata } = error as AwsError;
  if (driverCode !== undefined) return { code: driverCode, retryable: driverCode === "UNAVAILABLE" || driverCode === "TIMEOUT" };
  const named = TEXTS.find(([pattern]) => pattern.test(message))?.[1] ?? NAMES.get(nameOf(error));
  if (named !== undefined) return named;
  if (typeof code === "string") {
    if (CERTIFICATE.test(code)) return fatal("UNAUTHENTICATED");
    if (code.startsWith("ERR_INVALID_ARG")) return fatal("INTERNAL");
    if (NETWORK.test(code)) return OUTAGE;
  }
  const status = $metadata?.httpStatusCode ?? 0;
  if (status >= 500) return OUTAGE;
  return BY_STATUS[status] ?? (status >= 400 ? fatal("INVALID_ARGUMENT") : fatal("INTERNAL"));
}

/** Whether a refusal is about the receipt: this delivery is somebody else's, or nobody's. */
export function isStale(error: unknown): boolean {
  return error instanceof Error && (STALE.test(nameOf(error)) || STALE_TEXT.test(error.message));
}

/** A request that failed: may the service have acted on it? `left`: its bytes may have reached the network. */
export function sentOf(error: unknown, left: boolean): "no" | "maybe" {
  if (!left) return "no";
  const { $metadata } = error as AwsError;
  const status = $metadata?.httpStatusCode ?? 0;
  // A refusal comes before anything is stored; of a failure inside nothing is known.
  return (status >= 400 && status < 500) || THROTTLED.test((error as Error).name) ? "no" : "maybe";
}

/** A refusal as the SDK would throw it: of a request with its status, or of one entry of a batch. */
export function serviceError(code: string | undefined, message: unknown, httpStatusCode?: number): Error {
  const text = typeof message === "string" ? message : "The service gave no reason.";
  return Object.assign(new Error(text), { name: code || "UnknownError", $metadata: { httpStatusCode } });
}

export function unavailable(text: string, cause?: unknown): DriverError {
  return driverError("UNAVAILABLE", text, { cause });
}

export function topicMissing(topic: string): DriverError {
  return driverError("NOT_FOUND", `There is no topic "${topic}". Create it first, or provision the topic.`);
}

export function groupMissing(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Create it, or subscribe with it.`);
}

export function absent(what: string): DriverError {
  return driverError("UNSUPPORTED", `SQS has no ${what}.`);
}
