// #region errors
import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";
import { ShelfError } from "./shelf.ts";

const REASONS: Readonly<Record<ShelfError["reason"], Classified>> = {
  offline: { code: "UNAVAILABLE", retryable: true },
  "no such topic": { code: "NOT_FOUND", retryable: false },
  "no such group": { code: "NOT_FOUND", retryable: false },
};
const RETRYABLE: readonly ErrorCode[] = ["UNAVAILABLE", "TIMEOUT"];

/** A table, and nothing else: it never throws, does no I/O, and what it does not know is INTERNAL. */
export function classify(error: unknown): Classified {
  if (error instanceof ShelfError) return REASONS[error.reason];
  const { driverCode = "INTERNAL" } = Object(error) as Partial<DriverError>;
  return { code: driverCode, retryable: RETRYABLE.includes(driverCode) };
}

/** For what the record does not declare: core never asks for it, and a caller without core is told. */
export function absent(what: string): DriverError {
  return driverError("UNSUPPORTED", `A shelf has no ${what}.`);
}
// #endregion
