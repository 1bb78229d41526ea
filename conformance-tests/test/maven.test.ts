import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { mavenArchive, mavenJars } from "../src/brokers/index.ts";

const sum = (text: string | Uint8Array): string => createHash("sha256").update(text).digest("hex");

/** A repository that serves these paths, an empty folder, and the environment that points to it. */
async function repository(
  files: Readonly<Record<string, string | Uint8Array>>,
): Promise<{ folder: string; env: NodeJS.ProcessEnv; asked: string[] }> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(request.url ?? "");
    const content = files[request.url ?? ""];
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(async () => {
    server.close();
    await rm(folder, { recursive: true });
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/repo/`;
  return { folder, env: { ...process.env, BROKERKIT_MAVEN_REPOSITORY: url }, asked };
}

test("jars come from the repository of the variable, by their coordinates, and are compared with their sums", async () => {
  const files = { "/repo/org/one/core/1.0/core-1.0.jar": "one", "/repo/two/lib_2.13/2.0/lib_2.13-2.0.jar": "two" };
  const { folder, env, asked } = await repository(files);
  await mavenJars({ "org.one:core:1.0": sum("one"), "two:lib_2.13:2.0": sum("two") }, folder, env);
  expect(asked.sort()).toEqual(Object.keys(files).sort());
  expect((await readdir(folder)).sort()).toEqual(["core-1.0.jar", "lib_2.13-2.0.jar"]);
  expect(await readFile(join(folder, "core-1.0.jar"), "utf8")).toBe("one");
});

test("a jar with another sum is refused by its name", async () => {
  const { folder, env } = await repository({ "/repo/org/one/core/1.0/core-1.0.jar": "changed" });
  await expect(mavenJars({ "org.one:core:1.0": sum("one") }, folder, env)).rejects.toThrow(
    `core-1.0.jar was fetched with the SHA-256 ${sum("changed")}, but ${sum("one")} is expected: it is not used`,
  );
});

test("a jar that the repository does not have is named with its URL", async () => {
  const { folder, env } = await repository({});
  await expect(mavenJars({ "org.one:core:1.0": sum("one") }, folder, env)).rejects.toThrow(
    /\/repo\/org\/one\/core\/1\.0\/core-1\.0\.jar answered 404/,
  );
});

test("coordinates that are none are refused before anything is asked for", async () => {
  const { folder, env, asked } = await repository({});
  await expect(mavenJars({ "org.one:core": sum("one") }, folder, env)).rejects.toThrow(
    '"org.one:core" is no "<group>:<artifact>:<version>"',
  );
  expect(asked).toEqual([]);
});

/** A tar file with one folder, as distributions are. */
async function archive(): Promise<Buffer> {
  const folder = await mkdtemp(join(tmpdir(), "brokerkit-test-"));
  onTestFinished(() => rm(folder, { recursive: true }));
  await mkdir(join(folder, "one-1.0", "lib"), { recursive: true });
  await writeFile(join(folder, "one-1.0", "lib", "one.jar"), "one");
  return execFileSync("tar", ["-czf", "-", "-C", folder, "one-1.0"]);
}

test("a distribution comes by its type and classifier, and what is in its folder is unpacked", async () => {
  const file = await archive();
  const { folder, env, asked } = await repository({ "/repo/org/one/one-distribution/1.0/one-distribution-1.0-bin.tar.gz": file });
  await mavenArchive("org.one:one-distribution:1.0:tar.gz:bin", sum(file), folder, env);
  expect(asked).toHaveLength(1);
  expect(await readdir(folder, { recursive: true })).toEqual(["lib", "lib/one.jar"]);
  expect(await readdir(dirname(folder))).not.toContainEqual(expect.stringContaining(`${basename(folder)}-`));
});

test("a distribution with another sum is refused, and nothing of it is unpacked", async () => {
  const file = await archive();
  const { folder, env } = await repository({ "/repo/org/one/one/1.0/one-1.0-bin.tar.gz": file });
  await expect(mavenArchive("org.one:one:1.0:tar.gz:bin", sum("other"), folder, env)).rejects.toThrow(
    `one-1.0-bin.tar.gz was fetched with the SHA-256 ${sum(file)}, but ${sum("other")} is expected: it is not used`,
  );
  expect(await readdir(folder)).toEqual([]);
});
