import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./run.ts";

/**
 * Makes certificates by `openssl` in a new folder: `server.pem` with `server.key` for one name, signed by `ca.pem`, and `other.pem`, another
 * authority that has nothing to do with it. Keys are PKCS #8 without a password.
 * @param parent a folder that whoever asks removes
 * @param name a host name or an address
 * @param days whether the certificate is valid today; an expired one was valid in January 2020
 * @returns the new folder's path
 */
export async function makeCertificates(parent: string, name: string, days: "valid" | "expired" = "valid"): Promise<string> {
  const cwd = await mkdtemp(join(parent, "tls-"));
  await mkdir(join(cwd, "new"));
  const openssl = (...args: string[]): Promise<string> => run("openssl", args, { cwd });
  const key = (file: string): readonly string[] => {
    const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    return [...curve, "-keyout", `${file}.key`];
  };
  for (const authority of ["ca", "other"]) {
    await openssl("req", "-x509", ...key(authority), "-out", `${authority}.pem`, "-subj", `/CN=test ${authority}`, "-days", "2");
  }
  const alternative = /^[\d.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`;
  const settings = [
    "[ca]",
    "default_ca = own",
    "[own]",
    "new_certs_dir = ./new",
    "database = ./index.txt",
    "serial = ./serial",
    "certificate = ./ca.pem",
    "private_key = ./ca.key",
    "default_md = sha256",
    "policy = any",
    "x509_extensions = names",
    "[any]",
    "commonName = supplied",
    "[names]",
    `subjectAltName = ${alternative}`,
  ];
  await writeFile(join(cwd, "ca.cnf"), `${settings.join("\n")}\n`);
  await writeFile(join(cwd, "index.txt"), "");
  await writeFile(join(cwd, "serial"), "01\n");
  await openssl("req", ...key("server"), "-out", "server.csr", "-subj", `/CN=${name}`);
  // "req" can't set a date in the past; "ca" can.
  const dates = days === "expired" ? ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] : ["-days", "2"];
  await openssl("ca", "-batch", "-config", "ca.cnf", "-in", "server.csr", "-out", "server.pem", ...dates);
  return cwd;
}
