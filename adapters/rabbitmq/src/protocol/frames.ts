import { isUtf8 } from "node:buffer";
import { driverError } from "brokerkit/driver";

/** Frames and their fields: https://www.rabbitmq.com/resources/specs/amqp0-9-1.pdf, 2.3.5 and 4.2. */
const [METHOD, HEADER, BODY, END] = [1, 2, 3, 206];
/** Type, channel and size stand before what a frame carries; with the mark of its end they make what it costs. */
const [HEAD, AROUND] = [7, 8];
const [BASIC, PUBLISH] = [60, 40];
/** Which properties there are, in the order in which they follow. */
const [HEADERS, DELIVERY_MODE, PRIORITY, EXPIRATION, MESSAGE_ID, TIMESTAMP] = [0x2000, 0x1000, 0x0800, 0x0100, 0x0080, 0x0040];
const PERSISTENT = 2;
/** Types of header fields, as the server has them: https://www.rabbitmq.com/docs/amqp-0-9-1-errata#section_3 */
const [TEXT, BYTES, ARRAY] = [0x53, 0x78, 0x41];
const SHORTEST_OF = 255;
/** Bytes of a property's or a field's own beside its text, counted generously, and of one unit of text. */
const [FIXED, PER_FIELD, PER_UNIT] = [64, 8, 3];
/** What is allocated at once. No frame is larger: the client asks for half of it. */
const CHUNK = 262_144;
const MANDATORY = 1;
const LOW = 2 ** 32;

/** Bytes that are UTF-8 go as text, so that others can read them. */
export type HeaderValue = string | Uint8Array;
export type Header = readonly [name: string, value: HeaderValue | readonly HeaderValue[]];

/** Every message is persistent besides. */
export interface Properties {
  readonly headers: readonly Header[];
  readonly messageId: string;
  /** Epoch seconds. */
  readonly timestamp?: number | undefined;
  /** Milliseconds. */
  readonly expiration?: string | undefined;
  readonly priority?: number | undefined;
}

/** Where to publish to; the exchange `""` leads to the queue that the routing key names. */
export interface Address {
  readonly exchange: string;
  readonly routingKey: string;
  /** What no queue takes comes back. */
  readonly mandatory: boolean;
}

/** Publishes as they stand on the wire: messages of a call one behind the other, in as few buffers as can be. */
export class Frames {
  readonly #channel: number;
  /** What one frame may be, with all around it. */
  readonly #most: number;
  /** Full buffers, and the one that is being filled: `#from` to `#at` is not taken yet. */
  #full: Buffer[] = [];
  #chunk: Buffer = Buffer.alloc(0);
  #from = 0;
  #at = 0;
  /** The last publish method: it is the same for all messages of a topic. */
  #address: Address | undefined;
  #method: Uint8Array = Buffer.alloc(0);

  constructor(channel: number, frameMax: number) {
    this.#channel = channel;
    this.#most = Math.min(frameMax, CHUNK);
  }

  /** Adds a message. Throws, with nothing of it added, what a frame or a field can't hold. */
  add(address: Address, properties: Properties, body: Uint8Array): void {
    const most = this.#most - AROUND;
    const { length } = body;
    const bound = boundOf(address, properties);
    this.#reserve(bound + (length === 0 ? 0 : Math.min(length, most) + AROUND));
    const start = this.#at;
    try {
      this.#publish(address);
      this.#header(properties, length);
    } catch (error) {
      this.#at = start;
      throw error;
    }
    if (length === 0) return;
    if (length <= most) return this.#body(body);
    for (let at = 0; at < length; at += most) {
      const part = body.subarray(at, at + most);
      this.#reserve(part.length + AROUND);
      this.#body(part);
    }
  }

  /** What was added since the last time, in whole frames. */
  take(): readonly Buffer[] {
    const taken = this.#full;
    if (this.#at > this.#from) taken.push(this.#chunk.subarray(this.#from, this.#at));
    this.#full = [];
    this.#from = this.#at;
    return taken;
  }

  #reserve(bytes: number): void {
    if (this.#chunk.length - this.#at >= bytes) return;
    if (this.#at > this.#from) this.#full.push(this.#chunk.subarray(this.#from, this.#at));
    this.#chunk = Buffer.allocUnsafeSlow(Math.max(CHUNK, bytes));
    this.#from = 0;
    this.#at = 0;
  }

  #publish(address: Address): void {
    const before = this.#address;
    const { exchange, routingKey, mandatory } = address;
    if (before?.exchange === exchange && before.routingKey === routingKey && before.mandatory === mandatory) {
      this.#chunk.set(this.#method, this.#at);
      this.#at += this.#method.length;
      return;
    }
    const start = this.#begin(METHOD);
    // Class, method, and two bytes that were a ticket once.
    this.#chunk.writeUInt16BE(BASIC, this.#at);
    this.#chunk.writeUInt16BE(PUBLISH, this.#at + 2);
    this.#chunk.writeUInt16BE(0, this.#at + 4);
    this.#at += 6;
    this.#short(exchange, "exchange's name");
    this.#short(routingKey, "routing key");
    this.#chunk[this.#at++] = mandatory ? MANDATORY : 0;
    this.#end(start);
    this.#address = address;
    this.#method = Buffer.from(this.#chunk.subarray(start, this.#at));
  }

  #header({ headers, messageId, timestamp, expiration, priority }: Properties, bodySize: number): void {
    const start = this.#begin(HEADER);
    const chunk = this.#chunk;
    chunk.writeUInt32BE(BASIC * 2 ** 16, this.#at);
    this.#long(this.#at + 4, bodySize);
    let flags = HEADERS | DELIVERY_MODE | MESSAGE_ID;
    if (priority !== undefined) flags |= PRIORITY;
    if (expiration !== undefined) flags |= EXPIRATION;
    if (timestamp !== undefined) flags |= TIMESTAMP;
    chunk.writeUInt16BE(flags, this.#at + 12);
    this.#at += 14;
    const table = this.#size();
    for (let n = 0; n < headers.length; n++) {
      const [name, value] = headers[n] as Header;
      this.#short(name, "header's name");
      this.#field(value);
    }
    this.#sized(table);
    chunk[this.#at++] = PERSISTENT;
    if (priority !== undefined) chunk[this.#at++] = priority;
    if (expiration !== undefined) this.#short(expiration, "expiration");
    this.#short(messageId, "message's id");
    if (timestamp !== undefined) {
      this.#long(this.#at, timestamp);
      this.#at += 8;
    }
    this.#end(start);
    const size = this.#at - start;
    if (size <= this.#most) return;
    throw driverError("TOO_LARGE", `${size} bytes of headers are more than the ${this.#most} of the server's frames. Nothing was sent.`);
  }

  #body(part: Uint8Array): void {
    const start = this.#begin(BODY);
    this.#chunk.set(part, this.#at);
    this.#at += part.length;
    this.#end(start);
  }

  #field(value: Header[1]): void {
    if (typeof value === "string") {
      this.#chunk[this.#at++] = TEXT;
      const size = this.#size();
      this.#at += this.#chunk.write(value, this.#at);
      this.#sized(size);
    } else if (value instanceof Uint8Array) {
      this.#chunk[this.#at] = isUtf8(value) ? TEXT : BYTES;
      this.#chunk.writeUInt32BE(value.length, this.#at + 1);
      this.#chunk.set(value, this.#at + 5);
      this.#at += 5 + value.length;
    } else {
      this.#chunk[this.#at++] = ARRAY;
      const size = this.#size();
      for (const one of value) this.#field(one);
      this.#sized(size);
    }
  }

  #begin(type: number): number {
    const start = this.#at;
    this.#chunk[start] = type;
    this.#chunk.writeUInt16BE(this.#channel, start + 1);
    this.#at += HEAD;
    return start;
  }

  #end(start: number): void {
    this.#chunk.writeUInt32BE(this.#at - start - HEAD, start + 3);
    this.#chunk[this.#at++] = END;
  }

  /** Leaves room for how many bytes follow. */
  #size(): number {
    const at = this.#at;
    this.#at += 4;
    return at;
  }

  #sized(at: number): void {
    this.#chunk.writeUInt32BE(this.#at - at - 4, at);
  }

  #short(text: string, what: string): void {
    const length = this.#chunk.write(text, this.#at + 1);
    if (length > SHORTEST_OF)
      throw driverError("INVALID_ARGUMENT", `The ${what} "${text.slice(0, 60)}…" has ${length} bytes, and AMQP takes ${SHORTEST_OF}.`);
    this.#chunk[this.#at] = length;
    this.#at += 1 + length;
  }

  #long(at: number, value: number): void {
    this.#chunk.writeUInt32BE(Math.floor(value / LOW), at);
    this.#chunk.writeUInt32BE(value % LOW, at + 4);
  }
}

/** More bytes than the frames of the method and of the properties can have. */
function boundOf({ exchange, routingKey }: Address, { headers, messageId, expiration }: Properties): number {
  let units = exchange.length + routingKey.length + messageId.length + (expiration?.length ?? 0);
  let bytes = FIXED;
  for (let n = 0; n < headers.length; n++) {
    const [name, value] = headers[n] as Header;
    units += name.length;
    bytes += PER_FIELD;
    if (typeof value === "string") units += value.length;
    else if (value instanceof Uint8Array) bytes += value.length;
    else for (const one of value) bytes += PER_FIELD + PER_UNIT * one.length;
  }
  return bytes + PER_UNIT * units;
}
