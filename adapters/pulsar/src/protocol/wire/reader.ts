import { WireError } from "./errors.ts";

/** Reads protobuf by hand, for what arrives once a message. Whatever goes beyond the end, or is no protobuf, is a `WireError`. */
export class Reader {
  readonly bytes: Buffer;
  at: number;
  end: number;
  /** The number of the field whose tag was read last, and how its value is written. */
  field = 0;
  wire = 0;
  /** The value that `pair` read last. */
  low = 0;
  high = 0;

  constructor(bytes: Buffer, start = 0, end: number = bytes.length) {
    this.bytes = bytes;
    this.at = start;
    this.end = end;
  }

  /** Reads the next tag; `false` at the end. */
  next(): boolean {
    if (this.at >= this.end) return false;
    const tag = this.number();
    this.field = tag >>> 3;
    this.wire = tag & 7;
    if (tag < 8 || tag > 0xffffffff) throw new WireError("A field has no number.");
    return true;
  }

  /** A varint as a signed number: 64 bits of ones, which is how the protocol says "none", are -1. Beyond 2^53 it throws. */
  number(): number {
    const first = this.bytes[this.at] as number;
    if (first < 0x80 && this.at < this.end) {
      this.at++;
      return first;
    }
    this.pair();
    const value = (this.high | 0) * 0x100000000 + this.low;
    if (!Number.isSafeInteger(value)) throw new WireError("A number is larger than 2^53.");
    return value;
  }

  /** A varint of 64 bits into `low` and `high`, both unsigned. */
  pair(): void {
    let low = 0;
    let high = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) throw new WireError("A number is cut off.");
      const byte = this.bytes[this.at++] as number;
      const bits = byte & 0x7f;
      if (shift < 28) low |= bits << shift;
      else if (shift === 28) {
        low |= bits << 28;
        high = bits >>> 4;
      } else high |= bits << (shift - 32);
      if (byte < 0x80) {
        this.low = low >>> 0;
        this.high = high >>> 0;
        return;
      }
    }
    throw new WireError("A number is longer than the protocol allows.");
  }

  /** The length of the current field, which is all there. */
  #length(): number {
    if (this.wire !== 2) throw new WireError("A field is not of the type it has to be.");
    const length = this.number();
    if (length < 0 || length > this.end - this.at) throw new WireError("A field is longer than what is around it.");
    return length;
  }

  /** The number of the current field. */
  value(): number {
    if (this.wire !== 0) throw new WireError("A field is not of the type it has to be.");
    return this.number();
  }

  /** A view of the current field's bytes. */
  view(): Buffer {
    const length = this.#length();
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }

  text(): string {
    const length = this.#length();
    const { bytes, at } = this;
    this.at += length;
    if (length > 24) return bytes.toString("utf8", at, at + length);
    let text = "";
    for (let n = at; n < at + length; n++) {
      const byte = bytes[n] as number;
      if (byte > 0x7f) return bytes.toString("utf8", at, at + length);
      text += String.fromCharCode(byte);
    }
    return text;
  }

  /** Goes into the current field; returns the end to be given to `leave`. */
  enter(): number {
    const length = this.#length();
    const outer = this.end;
    this.end = this.at + length;
    return outer;
  }

  leave(outer: number): void {
    this.at = this.end;
    this.end = outer;
  }

  /** A number that an application chose, which may be beyond 2^53: it is rounded there. */
  rough(): number {
    if (this.wire !== 0) throw new WireError("A field is not of the type it has to be.");
    this.pair();
    return this.high * 0x100000000 + this.low;
  }

  skip(): void {
    if (this.wire === 0) this.pair();
    else if (this.wire === 2) this.view();
    else if (this.wire === 1) this.at += 8;
    else if (this.wire === 5) this.at += 4;
    else throw new WireError("A field has a type that the protocol does not use.");
    if (this.at > this.end) throw new WireError("A field is cut off.");
  }
}
