import { driverError } from "brokerkit/driver";
import { expect, test } from "vitest";
import { classify } from "../src/errors.ts";

const coded = (code: string) => Object.assign(new Error(code), { code });

test.each([
  [new Error("WRONGPASS invalid username-password pair or user is disabled."), "UNAUTHENTICATED", false],
  [new Error("NOAUTH Authentication required."), "UNAUTHENTICATED", false],
  [new Error("ERR AUTH <password> called without any password configured for the default user."), "UNAUTHENTICATED", false],
  [new Error("NOPERM this user has no permissions to run the 'eval' command"), "FORBIDDEN", false],
  [new Error("DENIED Redis is running in protected mode"), "FORBIDDEN", false],
  [new Error("OOM command not allowed when used memory > 'maxmemory'. script: 1, on @user_script:1."), "QUOTA_EXCEEDED", true],
  [new Error("NOGROUP No such key 'a' or consumer group 'b'"), "NOT_FOUND", false],
  [new Error("WRONGTYPE Operation against a key holding the wrong kind of value"), "INVALID_ARGUMENT", false],
  [new Error("ERR DB index is out of range"), "INVALID_ARGUMENT", false],
  [new Error("LOADING Redis is loading the dataset in memory"), "UNAVAILABLE", true],
  [new Error("READONLY You can't write against a read only replica."), "UNAVAILABLE", true],
  [new Error("MASTERDOWN Link with MASTER is down"), "UNAVAILABLE", true],
  [new Error("MISCONF Redis is configured to save RDB snapshots"), "UNAVAILABLE", true],
  [new Error("ERR max number of clients reached"), "UNAVAILABLE", true],
  [new Error("MOVED 3999 127.0.0.1:6381"), "UNSUPPORTED", false],
  [new Error("CROSSSLOT Keys in request don't hash to the same slot"), "UNSUPPORTED", false],
  [new Error("ERR unknown command 'XADD', with args beginning with: "), "UNSUPPORTED", false],
  [new Error("ERR Error running script: user_script:1: attempt to index a nil value"), "INTERNAL", false],
  [coded("ECONNREFUSED"), "UNAVAILABLE", true],
  [coded("ECONNRESET"), "UNAVAILABLE", true],
  [coded("ENOTFOUND"), "UNAVAILABLE", true],
  [coded("ERR_SSL_WRONG_VERSION_NUMBER"), "UNAVAILABLE", true],
  [coded("DEPTH_ZERO_SELF_SIGNED_CERT"), "UNAUTHENTICATED", false],
  [coded("UNABLE_TO_VERIFY_LEAF_SIGNATURE"), "UNAUTHENTICATED", false],
  [coded("CERT_HAS_EXPIRED"), "UNAUTHENTICATED", false],
  [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "UNAUTHENTICATED", false],
  [coded("ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED"), "UNAUTHENTICATED", false],
  [coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
  [driverError("NOT_FOUND", "no topic"), "NOT_FOUND", false],
  [driverError("TIMEOUT", "late"), "TIMEOUT", true],
  [new TypeError("x is not a function"), "INTERNAL", false],
  ["a text", "INTERNAL", false],
  [undefined, "INTERNAL", false],
] as const)("%s is %s, retryable %s", (error, code, retryable) => {
  expect(classify(error)).toEqual({ code, retryable });
});
