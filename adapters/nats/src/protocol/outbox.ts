/** What is written leaves in pieces of at least this size, or at the end of a turn of the event loop. */
const SLAB = 65_536;
const [LF, CR] = [10, 13];

/** Gathers what one turn of the event loop writes, so that it leaves in one piece. */
export class Outbox {
  readonly #send: (bytes: Buffer) => void;
  #slab = Buffer.allocUnsafeSlow(SLAB);
  #start = 0;
  #end = 0;
  #scheduled = false;

  constructor(send: (bytes: Buffer) => void) {
    this.#send = send;
  }

  text(text: string, encoding: "latin1" | "utf8"): void {
    this.#room(encoding === "utf8" ? text.length * 3 : text.length);
    this.#end += this.#slab.write(text, this.#end, encoding);
    this.#written();
  }

  /** A head in Latin-1, so that every byte is one character, and a body, ended as the protocol wants it. */
  message(head: string, body: Uint8Array): void {
    this.#room(head.length + body.length + 2);
    const slab = this.#slab;
    const at = this.#end + slab.write(head, this.#end, "latin1");
    slab.set(body, at);
    const end = at + body.length;
    slab[end] = CR;
    slab[end + 1] = LF;
    this.#end = end + 2;
    this.#written();
  }

  flush(): void {
    if (this.#start === this.#end) return;
    this.#send(this.#slab.subarray(this.#start, this.#end));
    this.#start = this.#end;
  }

  /** Makes room for so many bytes in one piece. What was written is never moved: the socket may still be reading it. */
  #room(bytes: number): void {
    if (this.#end + bytes <= this.#slab.length) return;
    this.flush();
    if (this.#start + bytes <= this.#slab.length) return;
    this.#slab = Buffer.allocUnsafeSlow(Math.max(SLAB, bytes));
    this.#start = 0;
    this.#end = 0;
  }

  #written(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => {
      this.#scheduled = false;
      this.flush();
    });
  }
}
