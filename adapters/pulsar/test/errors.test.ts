import { systemClock } from "@brokerkit/conformance";
import { driverError } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { classify, ended, groupMissing, isMissing, topicMissing, unavailable } from "../src/errors.ts";
import { maybeSent, PulsarError } from "../src/protocol/errors.ts";
import { RestError } from "../src/protocol/rest-call.ts";
import { aborted, bounded, until } from "../src/protocol/waiting.ts";
import { ServerErrorSchema } from "../src/protocol/wire/pulsar.generated.ts";

const coded = (code: string): Error => Object.assign(new Error("x"), { code });

describe("classify", () => {
  test.each([
    ["AuthenticationError", "UNAUTHENTICATED", false],
    ["AuthorizationError", "FORBIDDEN", false],
    ["TopicNotFound", "NOT_FOUND", false],
    ["SubscriptionNotFound", "NOT_FOUND", false],
    ["InvalidTopicName", "INVALID_ARGUMENT", false],
    ["IncompatibleSchema", "INVALID_PAYLOAD", false],
    ["ProducerBlockedQuotaExceededException", "QUOTA_EXCEEDED", true],
    ["ProducerBlockedQuotaExceededError", "QUOTA_EXCEEDED", true],
    ["TopicTerminatedError", "FORBIDDEN", false],
    ["ServiceNotReady", "UNAVAILABLE", true],
    ["ProducerFenced", "UNAVAILABLE", true],
    ["ConnectError", "UNAVAILABLE", true],
    ["ConnectionLost", "UNAVAILABLE", true],
    ["Detached", "UNAVAILABLE", true],
    ["MessageTooLarge", "TOO_LARGE", false],
    ["Unsupported", "UNSUPPORTED", false],
    ["Aborted", "ABORTED", false],
    ["Closed", "CLOSED", false],
    ["SomethingNew", "INTERNAL", false],
  ])("the protocol's %s is %s", (name, code, retryable) => {
    expect(classify(new PulsarError(name, "text"))).toEqual({ code, retryable });
  });

  test("every name of the protocol has a meaning, but for those of transactions and the one that says nothing", () => {
    const names = ServerErrorSchema.values.map(({ name }) => name);
    expect(names).toContain("TopicNotFound");
    const without = names.filter((name) => classify(new PulsarError(name, "")).code === "INTERNAL");
    expect(without.toSorted()).toEqual([
      "InvalidTxnStatus",
      "TransactionConflict",
      "TransactionCoordinatorNotFound",
      "TransactionNotFound",
      "UnknownError",
    ]);
  });

  test.each([
    ["UnknownError", "Topic does not exist", "NOT_FOUND"],
    ["MetadataError", "Namespace shop/none not found", "NOT_FOUND"],
    ["PersistenceError", "Exceeds maximum message size", "TOO_LARGE"],
    ["AuthorizationError", "Topic not found", "FORBIDDEN"],
  ])("a %s that says more: %s is %s", (name, text, code) => {
    expect(classify(new PulsarError(name, text)).code).toBe(code);
  });

  test("a time limit of ours is told from what a caller has aborted", async () => {
    const late = await bounded(systemClock, 1, "late", (signal) => until(signal, new Promise(() => {}))).catch((error: unknown) => error);
    expect(classify(late)).toEqual({ code: "TIMEOUT", retryable: true });
    expect(classify(maybeSent(late as PulsarError)).code).toBe("TIMEOUT");
    expect(classify(aborted(AbortSignal.abort())).code).toBe("ABORTED");
  });

  test("a certificate that is refused ends a connection for good", () => {
    const cause = new Error("tls", { cause: coded("SELF_SIGNED_CERT_IN_CHAIN") });
    expect(classify(new PulsarError("ConnectError", "text", { cause }))).toEqual({ code: "UNAUTHENTICATED", retryable: false });
    expect(classify(new PulsarError("ConnectError", "text", { cause: coded("ECONNREFUSED") })).code).toBe("UNAVAILABLE");
  });

  test.each([
    [310, "UNAVAILABLE", true],
    [400, "INVALID_ARGUMENT", false],
    [401, "UNAUTHENTICATED", false],
    [403, "FORBIDDEN", false],
    [404, "NOT_FOUND", false],
    [405, "UNSUPPORTED", false],
    [409, "UNAVAILABLE", true],
    [412, "INVALID_ARGUMENT", false],
    [429, "UNAVAILABLE", true],
    [500, "UNAVAILABLE", true],
    [503, "UNAVAILABLE", true],
    [418, "INTERNAL", false],
  ])("the admin service's %d is %s", (status, code, retryable) => {
    expect(classify(new RestError(status, "text"))).toEqual({ code, retryable });
  });

  test("the admin service's 401 with words of its own is somebody known who may not", () => {
    expect(classify(new RestError(401, "text", "Unauthorized to do this")).code).toBe("FORBIDDEN");
  });

  test("the admin service's 412 of a broker that is starting or stopping ends", () => {
    const starting = new RestError(412, "text", "Can't find owner for topic persistent://public/default/t");
    expect(classify(starting)).toEqual({ code: "UNAVAILABLE", retryable: true });
  });

  test.each([
    [coded("ECONNRESET"), "UNAVAILABLE", true],
    [coded("HPE_INVALID_CONSTANT"), "UNAVAILABLE", true],
    [coded("ERR_SSL_WRONG_VERSION_NUMBER"), "UNAVAILABLE", true],
    [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "UNAUTHENTICATED", false],
    [coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
    [coded("ERR_INVALID_CHAR"), "INTERNAL", false],
    [coded("ERR_UNESCAPED_CHARACTERS"), "INTERNAL", false],
    [coded("ENOENT"), "INTERNAL", false],
    [new DOMException("x", "TimeoutError"), "TIMEOUT", true],
    [new DOMException("x", "AbortError"), "ABORTED", false],
    [driverError("QUOTA_EXCEEDED", "x"), "QUOTA_EXCEEDED", true],
    [driverError("FORBIDDEN", "x"), "FORBIDDEN", false],
    [new TypeError("x"), "INTERNAL", false],
    ["text", "INTERNAL", false],
  ])("%o is %s", (error, code, retryable) => {
    expect(classify(error)).toEqual({ code, retryable });
  });
});

test("what is missing is told from what is out of reach", () => {
  expect(
    [new RestError(404, ""), new PulsarError("TopicNotFound", ""), new PulsarError("UnknownError", "Topic not found")].map(isMissing),
  ).toEqual([true, true, true]);
  expect([new RestError(503, ""), new PulsarError("ServiceNotReady", ""), driverError("NOT_FOUND", ""), undefined].map(isMissing)).toEqual([
    false,
    false,
    false,
    false,
  ]);
});

test("errors of the driver's own say what to do", () => {
  expect(topicMissing("t")).toMatchObject({ driverCode: "NOT_FOUND", message: expect.stringContaining("Create it first") });
  expect(groupMissing("t", "g")).toMatchObject({ driverCode: "NOT_FOUND", message: expect.stringContaining('"g"') });
  expect(unavailable("gone", "why")).toMatchObject({ driverCode: "UNAVAILABLE", cause: "why" });
});

test.each(["ConnectionLost", "Detached", "UnknownError"])("a consumer that ended by %s is opened again", (name) => {
  const error = new PulsarError(name, "text");
  expect(ended("consumer", error)).toMatchObject({ driverCode: "UNAVAILABLE", cause: error });
});

test("an entry that can't be read is told, as the next consumer would meet it again", () => {
  const error = new PulsarError("Unsupported", "The entry is encrypted.");
  expect(ended("reader", error)).toBe(error);
});
