import {
  GenericError,
  MultipleErrors,
  NetworkError,
  ProtocolError,
  protocolErrors,
  ResponseError,
  TimeoutError,
  UserError,
} from "@platformatic/kafka";
import { driverError } from "brokerkit/driver";
import { describe, expect, test } from "vitest";
import { classify } from "../src/errors.ts";
import { protocolName, readable } from "../src/protocol/client-error.ts";
import { PROTOCOL_ERRORS } from "../src/protocol/error-names.ts";

const coded = (code: string, message = code) => Object.assign(new Error(message), { code });
const metadata = (code: number, said: string | null = null) =>
  new ResponseError(3, 12, { "/topics/0": [code, said] }, { topics: ["secret body"] });
const failed = (cause: Error) => new NetworkError("Connection to a:9092 failed.", { cause });
const authentication = (cause: Error) => new GenericError("PLT_KFK_AUTHENTICATION", "SASL authentication failed.", { cause });

describe("classify", () => {
  test.each([
    ["LEADER_NOT_AVAILABLE", "UNAVAILABLE", true],
    ["NOT_LEADER_OR_FOLLOWER", "UNAVAILABLE", true],
    ["NOT_ENOUGH_REPLICAS", "UNAVAILABLE", true],
    ["KAFKA_STORAGE_ERROR", "UNAVAILABLE", true],
    ["COORDINATOR_LOAD_IN_PROGRESS", "UNAVAILABLE", true],
    ["ILLEGAL_GENERATION", "UNAVAILABLE", true],
    ["OUT_OF_ORDER_SEQUENCE_NUMBER", "UNAVAILABLE", true],
    ["REQUEST_TIMED_OUT", "TIMEOUT", true],
    ["THROTTLING_QUOTA_EXCEEDED", "QUOTA_EXCEEDED", true],
    ["UNKNOWN_TOPIC_OR_PARTITION", "NOT_FOUND", false],
    ["GROUP_ID_NOT_FOUND", "NOT_FOUND", false],
    ["MESSAGE_TOO_LARGE", "TOO_LARGE", false],
    ["OFFSET_OUT_OF_RANGE", "DATA_LOSS", false],
    ["NON_EMPTY_GROUP", "GROUP_ACTIVE", false],
    ["SASL_AUTHENTICATION_FAILED", "UNAUTHENTICATED", false],
    ["UNSUPPORTED_SASL_MECHANISM", "UNAUTHENTICATED", false],
    ["TOPIC_AUTHORIZATION_FAILED", "FORBIDDEN", false],
    ["GROUP_AUTHORIZATION_FAILED", "FORBIDDEN", false],
    ["CLUSTER_AUTHORIZATION_FAILED", "FORBIDDEN", false],
    ["INVALID_REPLICATION_FACTOR", "INVALID_ARGUMENT", false],
    ["INVALID_CONFIG", "INVALID_ARGUMENT", false],
    ["INCONSISTENT_GROUP_PROTOCOL", "INVALID_ARGUMENT", false],
    ["FENCED_INSTANCE_ID", "INVALID_ARGUMENT", false],
    ["UNSUPPORTED_VERSION", "UNSUPPORTED", false],
    ["UNKNOWN_SERVER_ERROR", "INTERNAL", false],
    ["INVALID_REQUEST", "INTERNAL", false],
  ])("%s is %s, retryable %s", (name, code, retryable) => {
    expect(classify(new ProtocolError(name))).toEqual({ code, retryable });
  });

  test("the table names only errors that the protocol has", () => {
    expect([...PROTOCOL_ERRORS.keys()].filter((name) => !(name in protocolErrors))).toEqual([]);
  });

  test.each([
    ["a refused connection", failed(coded("ECONNREFUSED")), "UNAVAILABLE", true],
    ["a host without an address", failed(coded("ENOTFOUND")), "UNAVAILABLE", true],
    ["several addresses that refuse", failed(new AggregateError([coded("ECONNREFUSED"), coded("ECONNREFUSED")])), "UNAVAILABLE", true],
    ["a cut connection", new NetworkError("Connection closed"), "UNAVAILABLE", true],
    ["a connection that took too long", new TimeoutError("Connection to a:9092 timed out."), "UNAVAILABLE", true],
    ["no address that answers", new MultipleErrors("Cannot connect", [failed(coded("ECONNREFUSED"))]), "UNAVAILABLE", true],
    ["a plain client on a TLS port", new UserError("Broker requires TLS."), "UNAVAILABLE", true],
    ["TLS on a plain port", failed(new UserError("TLS handshake failed. Please verify the broker supports TLS.")), "UNAVAILABLE", true],
    ["a certificate of nobody", failed(coded("DEPTH_ZERO_SELF_SIGNED_CERT")), "UNAUTHENTICATED", false],
    ["a certificate of another", failed(coded("ERR_TLS_CERT_ALTNAME_INVALID")), "UNAUTHENTICATED", false],
    ["a certificate that is over", failed(coded("CERT_HAS_EXPIRED")), "UNAUTHENTICATED", false],
    ["a client certificate that is missing", failed(coded("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED")), "UNAUTHENTICATED", false],
    ["a wrong password", failed(authentication(metadata(58, "Invalid credentials"))), "UNAUTHENTICATED", false],
    ["an authentication that was cut", failed(authentication(new NetworkError("Connection closed"))), "UNAVAILABLE", true],
    ["a token provider that throws", failed(authentication(new TypeError("no token"))), "UNAUTHENTICATED", false],
    ["a request that the client does not know", new GenericError("PLT_KFK_UNSUPPORTED_API", "no"), "UNSUPPORTED", false],
    ["a compression that it does not know", new GenericError("PLT_KFK_UNSUPPORTED_COMPRESSION", "no"), "UNSUPPORTED", false],
    ["an answer with an error", metadata(29), "FORBIDDEN", false],
    ["our own bound", AbortSignal.abort(new DOMException("late", "TimeoutError")).reason, "TIMEOUT", true],
    ["an abort", AbortSignal.abort().reason, "ABORTED", false],
    ["the driver's own", driverError("NOT_FOUND", "no topic"), "NOT_FOUND", false],
    ["the driver's own, retryable", driverError("UNAVAILABLE", "late"), "UNAVAILABLE", true],
    ["a wrong argument to Node", coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
    ["a bug", new TypeError("x is not a function"), "INTERNAL", false],
    ["a text", "oops", "INTERNAL", false],
    ["nothing", undefined, "INTERNAL", false],
  ])("%s", (_, error, code, retryable) => {
    expect(classify(error)).toEqual({ code, retryable });
    expect(classify(readable(error))).toEqual({ code, retryable });
  });

  test("ends on errors that are their own cause", () => {
    const error = new Error("ring");
    error.cause = error;
    expect(classify(error)).toEqual({ code: "INTERNAL", retryable: false });
  });
});

describe("readable", () => {
  test("says what the server said, by name, and keeps the answer to itself", () => {
    const error = readable(metadata(29, "not you")) as Error;
    expect(error.message).toBe("TOPIC_AUTHORIZATION_FAILED: not you");
    expect(Object.keys(error)).not.toContain("response");
    expect(error.cause).toBeUndefined();
    expect(protocolName(error)).toBe("TOPIC_AUTHORIZATION_FAILED");
  });

  test("says what to do where the error's own text does not", () => {
    expect((readable(metadata(23)) as Error).message).toContain("cooperative-sticky");
    expect((readable(new UserError("Broker requires TLS.")) as Error).message).toContain("kafkas:");
  });

  test("says why a connection failed, and keeps Node's error as the cause", () => {
    const cause = coded("ECONNREFUSED", "connect ECONNREFUSED 127.0.0.1:1");
    const error = readable(failed(cause)) as Error;
    expect(error.message).toBe("Connection to a:9092 failed. connect ECONNREFUSED 127.0.0.1:1.");
    expect(error.cause).toBe(cause);
  });

  test("leaves errors of others as they are", () => {
    const errors = [driverError("NOT_FOUND", "no topic"), new TypeError("bug"), "text", undefined];
    expect(errors.map(readable)).toEqual(errors);
  });
});
