import { createPublicKey, verify } from "node:crypto";
import { expect, test } from "vitest";
import { credentialsOf, signerOf } from "../../src/protocol/nkeys.ts";

/** Of the documentation of nkeys; nobody uses it. */
const SEED = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

test("a seed signs as the user of its public key", () => {
  const signer = signerOf(` ${SEED}\n`);
  expect(signer.nkey).toBe(PUBLIC);
  const signature = Buffer.from(signer.sign("a nonce"), "base64url");
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: publicBytes(PUBLIC).toString("base64url") }, format: "jwk" });
  expect(verify(null, Buffer.from("a nonce"), key, signature)).toBe(true);
});

/** The 32 bytes of a public key. */
function publicBytes(text: string): Buffer {
  const bits = [...text].map((letter) => "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".indexOf(letter).toString(2).padStart(5, "0")).join("");
  return Buffer.from((bits.match(/.{8}/g) ?? []).map((byte) => Number.parseInt(byte, 2))).subarray(1, 33);
}

test.each(["", "SUACSSL3", PUBLIC, `${SEED.slice(0, -1)}A`, SEED.toLowerCase(), `${SEED}1`])(
  "%j is no seed, and is not printed",
  (text) => {
    let message = "";
    try {
      signerOf(text);
    } catch (error) {
      message = String(error);
    }
    expect(message).toContain("nkey seed");
    if (text !== "") expect(message).not.toContain(text);
  },
);

test("credentials hold a JWT and its seed", () => {
  const text = `-----BEGIN NATS USER JWT-----\nabc.def.ghi\n------END NATS USER JWT------\n\n************************* IMPORTANT *************************\n\n-----BEGIN USER NKEY SEED-----\n${SEED}\n------END USER NKEY SEED------\n`;
  expect(credentialsOf(text)).toEqual({ jwt: "abc.def.ghi", seed: SEED });
  expect(() => credentialsOf(text.replace("USER JWT", "JWT"))).toThrow(/JWT/);
  expect(() => credentialsOf("")).toThrow(/seed/);
});
