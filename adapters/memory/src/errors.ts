import { type Classified, type DriverError, driverError, type ErrorCode } from "brokerkit/driver";

const RETRYABLE: readonly ErrorCode[] = ["UNAVAILABLE", "TIMEOUT"];

/** There is no client whose errors need a table: what is raised here has its code, and anything else is a mistake of ours. */
export function classify(error: unknown): Classified {
  const { driverCode: code = "INTERNAL" } = Object(error) as Partial<DriverError>;
  return { code, retryable: RETRYABLE.includes(code) };
}

export function invalid(why: string): DriverError {
  return driverError("INVALID_ARGUMENT", `The memory adapter can't be made so: ${why}.`);
}

export function noTopic(topic: string): DriverError {
  return driverError("NOT_FOUND", `There is no topic "${topic}". Create it first, or let the broker do so (provision: "create").`);
}

export function noGroup(topic: string, group: string): DriverError {
  return driverError("NOT_FOUND", `The topic "${topic}" has no group "${group}". Subscribe with it, or create it first.`);
}

/** The record says that this can't be done; core should have refused it before. */
export function unsupported(what: string): DriverError {
  return driverError("UNSUPPORTED", `The capability record in force has no ${what}.`);
}

/** Core went beyond the record. A real backend would fail in its own way; here it is told at once. */
export function beyond(what: string): DriverError {
  return driverError("INTERNAL", `The driver was called beyond its capability record: ${what}. Report it.`);
}
