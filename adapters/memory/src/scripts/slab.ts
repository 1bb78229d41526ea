const SLAB_BYTES = 16_384;

/** Room for many small byte strings in one allocation: a typed array of its own costs about a microsecond above 64 bytes. */
export class Slab {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #used = 0;

  /** Makes room for `size` bytes; they start at the result, in `bytes` as it is afterwards. */
  reserve(size: number): number {
    if (this.#used + size > this.bytes.length) {
      this.bytes = new Uint8Array(size > SLAB_BYTES / 8 ? size : SLAB_BYTES);
      this.#used = 0;
    }
    const at = this.#used;
    this.#used += size;
    return at;
  }
}
