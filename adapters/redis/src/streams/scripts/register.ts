import { randomBytes } from "node:crypto";
import type { Coordination, Register } from "brokerkit/driver";
import { buffer, type Link } from "../../client.ts";
import { within } from "../../protocol/bounds.ts";
import { script } from "./script.ts";

/** KEYS register. Answers value and revision. It begins as a write does, so that a replica, which may be behind, refuses it. */
const READ = script(`
redis.call('HDEL', KEYS[1], '')
return redis.call('HMGET', KEYS[1], 'value', 'revision')
`);

/**
 * KEYS register. ARGV the revision expected ("" for none), value, its revision. Answers 1 written, 0 not. What is written first and changes
 * nothing has a server without memory do the rest too: whoever has to make room by consuming must be able to say that it is there.
 */
const WRITE = script(`
redis.call('HDEL', KEYS[1], '')
if (redis.call('HGET', KEYS[1], 'revision') or '') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'value', ARGV[2], 'revision', ARGV[3])
return 1
`);

/** A hash for each register. Revisions are random: one that was lost and written anew can't be taken for what it was. */
export class Registers implements Coordination {
  readonly #control: () => Link;
  readonly #prefix: string;

  constructor(control: () => Link, keyPrefix: string) {
    this.#control = control;
    // No topic has an empty name, so no key of a topic begins like this.
    this.#prefix = `${keyPrefix}:register:`;
  }

  async read(name: string, signal: AbortSignal): Promise<Register | undefined> {
    const reply = await within(signal, this.#control().script(READ, [this.#prefix + name], []));
    const [value, revision] = reply as readonly [Buffer | null, Buffer | null];
    return value === null ? undefined : { value, revision: String(revision) };
  }

  async compareAndSet(name: string, expected: string | undefined, value: Uint8Array, signal: AbortSignal): Promise<string | undefined> {
    const revision = randomBytes(12).toString("base64url");
    const written = this.#control().script(WRITE, [this.#prefix + name], [expected ?? "", buffer(value), revision]);
    return (await within(signal, written)) === 1 ? revision : undefined;
  }
}
