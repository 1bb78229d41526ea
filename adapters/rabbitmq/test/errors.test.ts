import { driverError } from "brokerkit/driver";
import { expect, test } from "vitest";
import { classify, isMissing } from "../src/errors.ts";

const coded = (code: string | number, text = String(code)) => Object.assign(new Error(text), { code });
const closed = (code: number, text: string) => coded(code, `Channel closed by server: ${code} with message "${text}"`);

test.each([
  [
    new Error('Handshake terminated by server: 403 (ACCESS-REFUSED) with message "ACCESS_REFUSED - Login was refused"'),
    "UNAUTHENTICATED",
    false,
  ],
  [new Error("SASL mechanism PLAIN is not provided by the server"), "UNAUTHENTICATED", false],
  [closed(403, "ACCESS_REFUSED - write access to exchange 'orders' in vhost '/' refused for user 'ann'"), "FORBIDDEN", false],
  [closed(404, "NOT_FOUND - no exchange 'orders' in vhost '/'"), "NOT_FOUND", false],
  [closed(404, "NOT_FOUND - home node 'rabbit@a' of durable queue 'b' in vhost '/' is down or inaccessible"), "UNAVAILABLE", true],
  [closed(405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q'"), "UNAVAILABLE", true],
  [closed(406, "PRECONDITION_FAILED - inequivalent arg 'x-queue-type'"), "INVALID_ARGUMENT", false],
  [closed(406, "PRECONDITION_FAILED - message size 20 is larger than configured max size 10"), "TOO_LARGE", false],
  [closed(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out"), "UNAVAILABLE", true],
  [closed(406, "PRECONDITION_FAILED - unknown delivery tag 3"), "INVALID_ARGUMENT", false],
  [coded(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"), "UNAVAILABLE", true],
  [coded(501, "FRAME_ERROR"), "UNAVAILABLE", true],
  [coded(530, "NOT_ALLOWED - access to vhost 'x' refused for user 'ann'"), "FORBIDDEN", false],
  [coded(530, "NOT_ALLOWED - access to vhost 'x' refused for user 'ann': connection limit (1) is reached"), "QUOTA_EXCEEDED", true],
  [coded(540, "NOT_IMPLEMENTED"), "UNSUPPORTED", false],
  [coded(541, "INTERNAL_ERROR"), "UNAVAILABLE", true],
  [new Error("Heartbeat timeout"), "UNAVAILABLE", true],
  [new Error("Unexpected close"), "UNAVAILABLE", true],
  [new Error("Channel ended, no reply will be forthcoming"), "UNAVAILABLE", true],
  [new Error("Socket closed abruptly during opening handshake"), "UNAVAILABLE", true],
  [new RangeError("Encoded field table (headers or arguments) exceeds the 65536 byte encoding buffer"), "TOO_LARGE", false],
  [coded("ECONNREFUSED"), "UNAVAILABLE", true],
  [coded("ECONNRESET"), "UNAVAILABLE", true],
  [coded("ABORT_ERR"), "UNAVAILABLE", true],
  [coded("ERR_SSL_WRONG_VERSION_NUMBER"), "UNAVAILABLE", true],
  [coded("DEPTH_ZERO_SELF_SIGNED_CERT"), "UNAUTHENTICATED", false],
  [coded("CERT_HAS_EXPIRED"), "UNAUTHENTICATED", false],
  [coded("ERR_TLS_CERT_ALTNAME_INVALID"), "UNAUTHENTICATED", false],
  [coded("ERR_INVALID_ARG_TYPE"), "INTERNAL", false],
  [coded(599, "something new"), "INTERNAL", false],
  [driverError("NOT_FOUND", "no topic"), "NOT_FOUND", false],
  [driverError("TIMEOUT", "late"), "TIMEOUT", true],
  [new TypeError("x is not a function"), "INTERNAL", false],
  ["a text", "INTERNAL", false],
  [undefined, "INTERNAL", false],
] as const)("%s is %s, retryable %s", (error, code, retryable) => {
  expect(classify(error)).toEqual({ code, retryable });
});

test("what is out of reach is not missing", () => {
  expect(isMissing(closed(404, "NOT_FOUND - no queue 'q' in vhost '/'"))).toBe(true);
  expect(isMissing(closed(404, "NOT_FOUND - home node 'rabbit@a' of durable queue 'q' in vhost '/' is down or inaccessible"))).toBe(false);
  expect(isMissing(closed(405, "RESOURCE_LOCKED"))).toBe(false);
});
