import { driverError } from "brokerkit/driver";
import { expect, test } from "vitest";
import { classify, isStale, sentOf } from "../src/errors.ts";

const named = (name: string, message = name, status?: number) =>
  Object.assign(new Error(message), { name, $metadata: { httpStatusCode: status } });
const coded = (code: string) => Object.assign(new Error(code), { code });

test.each([
  [named("QueueDoesNotExist"), "NOT_FOUND", false],
  [named("AWS.SimpleQueueService.NonExistentQueue"), "NOT_FOUND", false],
  [named("NotFoundException"), "NOT_FOUND", false],
  [named("InvalidClientTokenId"), "UNAUTHENTICATED", false],
  [named("SignatureDoesNotMatch"), "UNAUTHENTICATED", false],
  [named("ExpiredTokenException"), "UNAUTHENTICATED", false],
  [named("CredentialsProviderError"), "UNAUTHENTICATED", false],
  [named("AccessDenied"), "FORBIDDEN", false],
  [named("AuthorizationErrorException"), "FORBIDDEN", false],
  [named("OverLimit"), "QUOTA_EXCEEDED", true],
  [named("QueueDeletedRecently"), "QUOTA_EXCEEDED", true],
  [named("TopicLimitExceededException"), "QUOTA_EXCEEDED", false],
  [named("RequestThrottled"), "UNAVAILABLE", true],
  [named("ThrottlingException"), "UNAVAILABLE", true],
  [named("ServiceUnavailable"), "UNAVAILABLE", true],
  [named("InternalFailure"), "UNAVAILABLE", true],
  [named("SomethingNew", "unheard of", 503), "UNAVAILABLE", true],
  [named("SomethingNew", "unheard of", 429), "UNAVAILABLE", true],
  [named("SomethingNew", "unheard of", 403), "FORBIDDEN", false],
  [named("SomethingNew", "unheard of", 400), "INVALID_ARGUMENT", false],
  [
    named("InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.", 400),
    "TOO_LARGE",
    false,
  ],
  [named("BatchRequestTooLong"), "TOO_LARGE", false],
  [named("Error", "Region is missing"), "INVALID_ARGUMENT", false],
  [coded("ECONNREFUSED"), "UNAVAILABLE", true],
  [coded("ECONNRESET"), "UNAVAILABLE", true],
  [coded("ENOTFOUND"), "UNAVAILABLE", true],
  [coded("HPE_INVALID_CONSTANT"), "UNAVAILABLE", true],
  [coded("SELF_SIGNED_CERT_IN_CHAIN"), "UNAUTHENTICATED", false],
  [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "UNAUTHENTICATED", false],
  [coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
  [driverError("TIMEOUT", "late"), "TIMEOUT", true],
  [driverError("TOO_LARGE", "much"), "TOO_LARGE", false],
  [new TypeError("x is not a function"), "INTERNAL", false],
  ["a text", "INTERNAL", false],
  [undefined, "INTERNAL", false],
] as const)("%s is %s, retryable %s", (error, code, retryable) => {
  expect(classify(error)).toEqual({ code, retryable });
});

test.each([
  ["nothing left this process", named("ServiceUnavailable", "", 503), false, "no"],
  ["the service refused it", named("InvalidMessageContents", "", 400), true, "no"],
  ["the service was too busy to begin", named("ThrottlingException", "", 503), true, "no"],
  ["the service failed inside", named("InternalFailure", "", 500), true, "maybe"],
  ["the answer never came", coded("ECONNRESET"), true, "maybe"],
  ["an entry failed inside", named("InternalError"), true, "maybe"],
] as const)("what may have been stored: %s", (_, error, left, sent) => {
  expect(sentOf(error, left)).toBe(sent);
});

test("a receipt is worth nothing when it expired, was settled, or the message was received again", () => {
  for (const error of [
    named("ReceiptHandleIsInvalid"),
    named("AWS.SimpleQueueService.MessageNotInflight"),
    named("InvalidParameterValue", "Value x for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."),
  ])
    expect(isStale(error)).toBe(true);
  for (const error of [named("AccessDenied"), named("InternalFailure"), "text", undefined]) expect(isStale(error)).toBe(false);
});
