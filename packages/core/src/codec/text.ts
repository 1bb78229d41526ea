import { isUtf8 } from "node:buffer";

function view(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Bytes as text; what is no UTF-8 becomes U+FFFD. */
export function lossyText(bytes: Uint8Array): string {
  return view(bytes).toString();
}

/** Bytes as text, or `undefined` where they are no UTF-8. */
export function exactText(bytes: Uint8Array): string | undefined {
  const text = view(bytes).toString();
  // A replacement character may be genuine; only then is a second look at the bytes needed.
  return text.includes("\uFFFD") && !isUtf8(bytes) ? undefined : text;
}

/** One character per byte: different bytes never give the same text. */
export function binaryText(bytes: Uint8Array): string {
  return view(bytes).toString("latin1");
}
