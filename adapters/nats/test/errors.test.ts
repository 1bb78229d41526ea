import { driverError } from "brokerkit/driver";
import { expect, test } from "vitest";
import { ApiError, classify, ServerError } from "../src/errors.ts";

const coded = (code: string) => Object.assign(new Error(code), { code });

test.each([
  [new ServerError("Authorization Violation"), "UNAUTHENTICATED", false],
  [new ServerError("User Authentication Expired"), "UNAUTHENTICATED", false],
  [new ServerError("Authentication Timeout"), "UNAVAILABLE", true],
  [new ServerError('Permissions Violation for Publish to "orders"'), "FORBIDDEN", false],
  [new ServerError("Maximum Payload Violation"), "TOO_LARGE", false],
  [new ServerError("Invalid Subject"), "INVALID_ARGUMENT", false],
  [new ServerError("maximum subscriptions exceeded"), "QUOTA_EXCEEDED", true],
  [new ServerError("maximum connections exceeded"), "UNAVAILABLE", true],
  [new ServerError("Stale Connection"), "UNAVAILABLE", true],
  [new ServerError("Slow Consumer"), "UNAVAILABLE", true],
  [new ServerError("something new"), "UNAVAILABLE", true],
  [new ApiError(404, 10_059, "stream not found"), "NOT_FOUND", false],
  [new ApiError(404, 10_014, "consumer not found"), "NOT_FOUND", false],
  [new ApiError(400, 10_065, "subjects overlap with an existing stream"), "INVALID_ARGUMENT", false],
  [new ApiError(500, 10_047, "insufficient storage resources available"), "QUOTA_EXCEEDED", true],
  [new ApiError(503, 10_077, "maximum bytes exceeded"), "QUOTA_EXCEEDED", true],
  [new ApiError(503, 10_077, "maximum messages exceeded"), "QUOTA_EXCEEDED", true],
  [new ApiError(400, 10_054, "message size exceeds maximum allowed"), "TOO_LARGE", false],
  [new ApiError(503, 10_039, "JetStream not enabled for account"), "UNSUPPORTED", false],
  [new ApiError(503, 10_008, "JetStream system temporarily unavailable"), "UNAVAILABLE", true],
  [new ApiError(503, 10_999, "something new"), "UNAVAILABLE", true],
  [new ApiError(400, 10_999, "something new"), "INVALID_ARGUMENT", false],
  [new ApiError(500, 10_999, "something new"), "INTERNAL", false],
  [coded("ECONNREFUSED"), "UNAVAILABLE", true],
  [coded("ECONNRESET"), "UNAVAILABLE", true],
  [coded("ERR_SSL_WRONG_VERSION_NUMBER"), "UNAVAILABLE", true],
  [coded("DEPTH_ZERO_SELF_SIGNED_CERT"), "UNAUTHENTICATED", false],
  [coded("CERT_HAS_EXPIRED"), "UNAUTHENTICATED", false],
  [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "UNAUTHENTICATED", false],
  [coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
  [driverError("NOT_FOUND", "no topic"), "NOT_FOUND", false],
  [driverError("TIMEOUT", "late"), "TIMEOUT", true],
  [new TypeError("x is not a function"), "INTERNAL", false],
  ["a text", "INTERNAL", false],
  [undefined, "INTERNAL", false],
] as const)("%s is %s, retryable %s", (error, code, retryable) => {
  expect(classify(error)).toEqual({ code, retryable });
});
