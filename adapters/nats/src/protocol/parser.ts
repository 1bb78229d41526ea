/** What a server sent to one subscription. The body is a view of what was read. */
export interface Message {
  readonly sid: number;
  readonly subject: string;
  /** `""`: none. */
  readonly reply: string;
  /** The whole block in Latin-1, so that every byte is one character; first line and empty line included. */
  readonly headers: string | undefined;
  readonly body: Buffer;
}

export interface ParserEvents {
  message(message: Message): void;
  info(json: string): void;
  error(text: string): void;
  ping(): void;
  pong(): void;
}

/** Longer lines are no part of the protocol: a server's INFO of a large cluster has some thousands of characters. */
const MAX_LINE = 262_144;
/** More than any server lets through (its `max_payload` is at most 64 MiB). */
const MAX_MESSAGE = 134_217_728;
const [LF, CR, SPACE] = [10, 13, 32];
const FOREIGN = "The server sent a message line that is not of the protocol.";

/** Cuts a byte stream into the protocol's operations: https://docs.nats.io/reference/reference-protocols/nats-protocol */
export class Parser {
  readonly #events: ParserEvents;
  #parts: Buffer[] = [];
  #have = 0;
  /** What is left is not worth looking at with less than this. */
  #need = 1;
  #stopped = false;

  constructor(events: ParserEvents) {
    this.#events = events;
  }

  /** Bytes that are no whole operation yet. */
  get rest(): number {
    return this.#have;
  }

  /** Nothing of what is left is looked at any more. */
  stop(): void {
    this.#stopped = true;
    this.#parts = [];
    this.#have = 0;
  }

  /** Throws what is wrong with the bytes; then the stream is worth nothing any more. */
  push(chunk: Buffer): void {
    if (this.#stopped) return;
    this.#parts.push(chunk);
    this.#have += chunk.length;
    if (this.#have < this.#need) return;
    const data = this.#parts.length === 1 ? chunk : Buffer.concat(this.#parts, this.#have);
    const at = this.#run(data);
    if (this.#stopped) return;
    this.#have = data.length - at;
    this.#parts = this.#have === 0 ? [] : [data.subarray(at)];
  }

  /** Up to the first operation that is not whole, whose start it returns. */
  #run(data: Buffer): number {
    let at = 0;
    while (!this.#stopped) {
      const lf = data.indexOf(LF, at);
      if (lf === -1) {
        if (data.length - at > MAX_LINE) throw new Error("The server sent a line that is longer than the protocol allows.");
        this.#need = data.length - at + 1;
        return at;
      }
      const end = data[lf - 1] === CR && lf > at ? lf - 1 : lf;
      const kind = data[at];
      if (kind === 0x4d || kind === 0x48) {
        const next = this.#message(data, at, end, lf + 1, kind === 0x48);
        if (next > data.length) {
          this.#need = next - at;
          return at;
        }
        at = next;
        continue;
      }
      this.#control(data.toString("utf8", at, end));
      at = lf + 1;
    }
    return at;
  }

  /**
   * `MSG <subject> <sid> [reply] <bytes>` or `HMSG <subject> <sid> [reply] <header bytes> <bytes>`; where the next operation begins. The sizes
   * are read first, so that one string holds line and headers.
   */
  #message(data: Buffer, at: number, end: number, start: number, hasHeaders: boolean): number {
    const sizeAt = beforeDigits(data, at, end);
    const headAt = hasHeaders ? beforeDigits(data, at, sizeAt) : sizeAt;
    const total = numberOf(data, sizeAt + 1, end);
    const head = hasHeaders ? numberOf(data, headAt + 1, sizeAt) : 0;
    if (!(total <= MAX_MESSAGE && head <= total)) throw new Error(FOREIGN);
    const text = data.toString("latin1", at, start + head);
    const first = hasHeaders ? 4 : 3;
    const second = text.indexOf(" ", first + 1);
    const third = text.indexOf(" ", second + 1);
    const last = headAt - at;
    const sid = numberOf(data, at + second + 1, at + third);
    const reply = third === last ? "" : text.slice(third + 1, last);
    const known = data[at + first] === SPACE && second !== -1 && third !== -1 && third <= last;
    if (!known || Number.isNaN(sid) || reply.includes(" ")) throw new Error(FOREIGN);
    const next = start + total + 2;
    if (next > data.length) return next;
    this.#events.message({
      sid,
      subject: text.slice(first + 1, second),
      reply,
      headers: hasHeaders ? text.slice(start - at) : undefined,
      body: data.subarray(start + head, start + total),
    });
    return next;
  }

  #control(line: string): void {
    if (line.startsWith("PING")) this.#events.ping();
    else if (line.startsWith("PONG")) this.#events.pong();
    else if (line.startsWith("INFO ")) this.#events.info(line.slice(5));
    else if (line.startsWith("-ERR")) this.#events.error(line.slice(4).trim().replace(/^'|'$/g, ""));
    else if (line !== "" && !line.startsWith("+OK")) throw new Error("The server sent an operation that is not of the protocol.");
  }
}

/** Where the digits begin that end there, less one. */
function beforeDigits(data: Buffer, from: number, end: number): number {
  let at = end - 1;
  while (at > from && data[at] !== SPACE) at--;
  return at;
}

/** The number that stands there in decimal digits; `NaN` for anything else. */
function numberOf(data: Buffer, from: number, end: number): number {
  let number = 0;
  for (let at = from; at < end; at++) {
    const digit = (data[at] as number) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    number = number * 10 + digit;
  }
  return from < end ? number : Number.NaN;
}
