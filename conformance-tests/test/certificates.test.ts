import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { makeCertificates } from "../src/brokers/index.ts";

async function made(name: string, days?: "valid" | "expired"): Promise<Record<"ca" | "other" | "server", X509Certificate>> {
  const parent = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rm(parent, { recursive: true }));
  const folder = await makeCertificates(parent, name, days);
  const read = async (file: string): Promise<X509Certificate> => new X509Certificate(await readFile(join(folder, `${file}.pem`)));
  expect(await readFile(join(folder, "server.key"), "utf8")).toContain("BEGIN PRIVATE KEY");
  return { ca: await read("ca"), other: await read("other"), server: await read("server") };
}

test("a server's certificate is signed by its authority and by no other, for its name only, and valid today", async () => {
  const { ca, other, server } = await made("127.0.0.1");
  expect([server.verify(ca.publicKey), server.verify(other.publicKey)]).toEqual([true, false]);
  expect([server.checkIP("127.0.0.1"), server.checkIP("127.0.0.2")]).toEqual(["127.0.0.1", undefined]);
  expect(new Date(server.validTo).getTime()).toBeGreaterThan(Date.now());
});

test("an expired one is for a host name, and over", async () => {
  const { ca, server } = await made("elsewhere.test", "expired");
  expect([server.verify(ca.publicKey), server.checkHost("elsewhere.test"), server.checkHost("localhost")]).toEqual([
    true,
    "elsewhere.test",
    undefined,
  ]);
  expect(new Date(server.validTo).getTime()).toBeLessThan(Date.now());
});
