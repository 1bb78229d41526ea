import { createPrivateKey, createPublicKey, sign } from "node:crypto";
import { driverError } from "brokerkit/driver";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
/** An Ed25519 private key in PKCS #8, up to its 32 bytes (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");
/** First byte of a seed: "S" in base 32, with a part of the second letter. */
const SEED = 18 << 3;

/** How a user proves who it is without a password: https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/nkey_auth */
export interface Signer {
  /** The public key, `U…`. */
  readonly nkey: string;
  sign(nonce: string): string;
}

/** Of a seed `SU…`. Throws `INVALID_ARGUMENT` for anything else, without printing it. */
export function signerOf(seed: string): Signer {
  const bytes = decode(seed.trim());
  const intact = bytes !== undefined && bytes.length === 36 && crc16(bytes.subarray(0, 34)) === bytes.readUInt16LE(34);
  if (!intact || ((bytes[0] as number) & 0xf8) !== SEED) {
    throw driverError(
      "INVALID_ARGUMENT",
      'The nkey seed is not one: it begins with "SU" and has 58 characters. Nothing of it is shown here.',
    );
  }
  const kind = (((bytes[0] as number) & 7) << 5) | (((bytes[1] as number) & 0xf8) >> 3);
  const key = createPrivateKey({ key: Buffer.concat([PKCS8, bytes.subarray(2, 34)]), format: "der", type: "pkcs8" });
  const { x } = createPublicKey(key).export({ format: "jwk" });
  const open = Buffer.concat([Buffer.from([kind]), Buffer.from(x as string, "base64url")]);
  const check = Buffer.alloc(2);
  check.writeUInt16LE(crc16(open));
  return {
    nkey: encode(Buffer.concat([open, check])),
    sign: (nonce) => sign(null, Buffer.from(nonce), key).toString("base64url"),
  };
}

/** What a credentials file holds: the user's JWT and the seed that belongs to it. Throws `INVALID_ARGUMENT`. */
export function credentialsOf(text: string): { readonly jwt: string; readonly seed: string } {
  const block = (name: string): string | undefined =>
    new RegExp(`-----BEGIN ${name}-----\\s*([A-Za-z0-9_.=-]+)\\s*-{3,}END ${name}-{3,}`).exec(text)?.[1];
  const jwt = block("NATS USER JWT");
  const seed = block("USER NKEY SEED");
  if (jwt === undefined || seed === undefined)
    throw driverError(
      "INVALID_ARGUMENT",
      "The credentials are not those of a NATS user: they have a block with the JWT and one with the seed.",
    );
  return { jwt, seed };
}

function decode(text: string): Buffer | undefined {
  const out: number[] = [];
  let [bits, value] = [0, 0];
  for (const letter of text) {
    const five = ALPHABET.indexOf(letter);
    if (five === -1) return undefined;
    value = ((value << 5) | five) & 0xfff;
    bits += 5;
    if (bits < 8) continue;
    bits -= 8;
    out.push((value >> bits) & 0xff);
  }
  return Buffer.from(out);
}

/** Base 32 of RFC 4648, without padding. */
export function encode(bytes: Buffer): string {
  let [text, bits, value] = ["", 0, 0];
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    for (bits += 8; bits >= 5; ) {
      bits -= 5;
      text += ALPHABET[(value >> bits) & 31];
    }
  }
  return bits === 0 ? text : text + ALPHABET[(value << (5 - bits)) & 31];
}

/** CRC-16/XMODEM. */
export function crc16(bytes: Buffer): number {
  let crc = 0;
  for (const byte of bytes) {
    crc ^= byte << 8;
    for (let n = 0; n < 8; n++) crc = (crc & 0x8000) === 0 ? (crc << 1) & 0xffff : ((crc << 1) ^ 0x1021) & 0xffff;
  }
  return crc;
}
