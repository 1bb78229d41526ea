import { randomBytes } from "node:crypto";

// 96 random bits a process and a counter: unique, and some 20 times cheaper than a UUID per message.
const prefix = randomBytes(12).toString("base64url");
let counter = 0;

/** A new unique id of 18–24 characters from `A–Z a–z 0–9 _ - .`. */
export function newId(): string {
  return `${prefix}.${(counter++).toString(36)}`;
}
