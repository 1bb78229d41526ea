import type { Clock } from "brokerkit/driver";
import { bounded } from "../../client.ts";
import type { Connection } from "../../protocol/connection.ts";

/** How long an answer to an ack may take. */
const ANSWER_MS = 5_000;

/** https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages */
export const ACK = "+ACK";
export const WORKING = "+WPI";
export const NAK = "-NAK";

/** To be delivered again after so many ms. Nanoseconds of a year are beyond what a number holds exactly. */
export function nak(ms = 0): string {
  return ms <= 0 ? NAK : `-NAK {"delay": ${BigInt(Math.ceil(ms)) * 1_000_000n}}`;
}

/** A word to a consumer about one of its deliveries. */
export interface Word {
  readonly reply: string;
  readonly text: string;
}

/** Whatever of these is still owned may go to others at once. */
export function giveBack(connection: Connection, deliveries: readonly Pick<Word, "reply">[]): void {
  for (const { reply } of deliveries) connection.say(reply, NAK);
}

/**
 * Resolves when the consumer has heard them all; they are for one consumer. It takes what one connection sends it in order, so the answer
 * to the last is the answer to all.
 */
export async function confirm(connection: Connection, clock: Clock, words: readonly Word[]): Promise<void> {
  const last = words.at(-1);
  if (last === undefined) return;
  for (const word of words) if (word !== last) connection.say(word.reply, word.text);
  await bounded(clock, ANSWER_MS, (signal) => connection.ask(last.reply, Buffer.from(last.text), signal));
}
