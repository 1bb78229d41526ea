import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificates, type RunningBroker } from "@brokerkit/conformance/brokers";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { tokenFor } from "../../recipe.ts";
import { basicAuth, type ProtocolOptions, type PulsarError, tokenAuth } from "../../src/protocol/index.ts";
import type { PulsarTransport } from "../../src/transport.ts";
import { client, eventually, fresh, message, produce, soon, startServer } from "./stage.ts";

const SECRET = "of this file";
const PASSWORD = "hush-hush";
let folder: string;
let certificates: string;
let ca: Buffer;
let broker: RunningBroker;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "pulsar-auth-"));
  certificates = await makeCertificates(folder, "127.0.0.1");
  ca = await readFile(join(certificates, "ca.pem"));
  broker = await startServer({ tls: certificates, secret: SECRET, users: `admin:${PASSWORD}` });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

function secure(more: Partial<ProtocolOptions>): PulsarTransport {
  return client(broker, { serviceUrl: `pulsar+ssl://${broker.host}:${broker.port}`, tls: { ca }, ...more });
}

async function refusal(transport: PulsarTransport): Promise<PulsarError> {
  return transport.connect(soon()).then(
    () => Promise.reject(new Error("it connected")),
    (error: PulsarError) => error,
  );
}

describe("over TLS", () => {
  test("a token, from a string, a function or a file, lets us in", async () => {
    const token = tokenFor(SECRET, "admin");
    const file = join(folder, "token");
    await writeFile(file, `${token}\n`);
    for (const auth of [tokenAuth(token), tokenAuth(async () => token), tokenAuth({ file })]) {
      const { store } = await produce(secure({ auth }), fresh());
      await store([message("a")]);
    }
  });

  test("a user and a password do, too", async () => {
    await (await produce(secure({ auth: basicAuth("admin", PASSWORD) }), fresh())).store([message("a")]);
  });

  test("without, with a wrong one or with an old one we are refused, and no secret is quoted", async () => {
    const wrong = tokenFor("another", "admin");
    const old = tokenFor(SECRET, "admin", Math.floor(Date.now() / 1_000) - 60);
    const errors = [
      await refusal(secure({})),
      await refusal(secure({ auth: tokenAuth(wrong) })),
      await refusal(secure({ auth: tokenAuth(old) })),
      await refusal(secure({ auth: basicAuth("admin", "guess-again") })),
    ];
    expect(errors.map(({ code }) => code)).toEqual(errors.map(() => "AuthenticationError"));
    for (const { message: text } of errors) for (const secret of [wrong, old, "guess-again"]) expect(text).not.toContain(secret);
  });

  test("credentials that can't be had are an error of their own", async () => {
    const error = await refusal(secure({ auth: tokenAuth({ file: join(folder, "none") }) }));
    expect(error).toMatchObject({ code: "AuthenticationError", cause: { code: "ENOENT" } });
    const quoting = await refusal(secure({ auth: tokenAuth(() => Promise.reject(new Error("hush"))) }));
    expect(quoting).toMatchObject({ code: "AuthenticationError" });
    expect(String(quoting)).not.toContain("hush");
  });

  test("who may not use a topic is told so", async () => {
    const transport = secure({ auth: tokenAuth(tokenFor(SECRET, "nobody")) });
    await transport.connect(soon());
    await expect(produce(transport, fresh())).rejects.toMatchObject({ code: "AuthorizationError" });
  });

  test("a token that runs out is replaced when the broker asks", async () => {
    let asked = 0;
    const downs: unknown[] = [];
    const inSeconds = (seconds: number): string => tokenFor(SECRET, "admin", Math.ceil(Date.now() / 1_000) + seconds);
    const auth = tokenAuth(() => inSeconds(asked++ === 0 ? 3 : 3_600));
    const { store, ends } = await produce(secure({ auth, onDown: (error) => downs.push(error) }), fresh());
    await eventually(() => asked > 1, "the broker's challenge");
    await store([message("a")]);
    expect([...ends, ...downs]).toEqual([]);
  });

  test("a token that can't be replaced ends the connection", async () => {
    let asked = 0;
    const downs: unknown[] = [];
    const auth = tokenAuth(() => {
      if (asked++ > 0) throw new Error("the vault is closed");
      return tokenFor(SECRET, "admin", Math.ceil(Date.now() / 1_000) + 3);
    });
    await secure({ auth, onDown: (error) => downs.push(error) }).connect(soon());
    await eventually(() => downs.length === 1, "the end of the connection");
    expect(downs[0]).toMatchObject({ code: "AuthenticationError", cause: { message: "the vault is closed" } });
  });

  test("a certificate that proves nothing is refused", async () => {
    expect(await refusal(secure({ tls: {}, auth: tokenAuth(tokenFor(SECRET, "admin")) }))).toMatchObject({
      code: "ConnectError",
      cause: { code: expect.stringMatching(/^UNABLE_TO_VERIFY|CERT/) },
    });
    const localhost = { ...broker, host: "localhost" };
    const other = client(localhost, { serviceUrl: `pulsar+ssl://localhost:${broker.port}`, tls: { ca } });
    expect(await refusal(other)).toMatchObject({ cause: { code: "ERR_TLS_CERT_ALTNAME_INVALID" } });
  });
});
