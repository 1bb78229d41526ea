import { createHash } from "node:crypto";
import { createReadStream, createWriteStream, existsSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { run } from "./run.ts";

const CENTRAL = "https://repo1.maven.org/maven2";
const VARIABLE = "BROKERKIT_MAVEN_REPOSITORY";
const PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/** Files that are fetched at a time. */
const LANES = 6;

interface Artifact {
  readonly group: string;
  readonly artifact: string;
  readonly version: string;
  readonly type: string;
  readonly classifier: string | undefined;
  readonly file: string;
  readonly sha256: string;
}

function artifactsOf(lock: Readonly<Record<string, string>>): readonly Artifact[] {
  return Object.entries(lock).map(([coordinates, sha256]) => {
    const [group, artifact, version, type = "jar", classifier] = coordinates.split(":");
    if (group === undefined || artifact === undefined || version === undefined) {
      throw new Error(`"${coordinates}" is no "<group>:<artifact>:<version>"`);
    }
    const file = `${artifact}-${version}${classifier === undefined ? "" : `-${classifier}`}.${type}`;
    return { group, artifact, version, type, classifier, file, sha256 };
  });
}

/** A project that depends on exactly these files and on nothing that they would bring along. */
function pom(artifacts: readonly Artifact[]): string {
  const dependencies = artifacts.map(
    ({ group, artifact, version, type, classifier }) =>
      `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version><type>${type}</type>` +
      (classifier === undefined ? "" : `<classifier>${classifier}</classifier>`) +
      "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>",
  );
  return (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>brokerkit</groupId>' +
    `<artifactId>files</artifactId><version>1</version>\n<dependencies>\n${dependencies.join("\n")}\n</dependencies></project>\n`
  );
}

/** By the machine's own Maven, whose settings know proxies and mirrors. */
async function byMaven(artifacts: readonly Artifact[], folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const project = await mkdtemp(join(tmpdir(), "brokerkit-maven-"));
  try {
    await writeFile(join(project, "pom.xml"), pom(artifacts));
    await run("mvn", ["-q", "-B", "-f", join(project, "pom.xml"), PLUGIN, `-DoutputDirectory=${folder}`], { cwd: project, env });
  } finally {
    await rm(project, { recursive: true });
  }
}

async function byHttps(artifacts: readonly Artifact[], folder: string, repository: string): Promise<void> {
  const left = artifacts.values();
  const lane = async (): Promise<void> => {
    for (const { group, artifact, version, file } of left) {
      const url = `${repository}/${group.replaceAll(".", "/")}/${artifact}/${version}/${file}`;
      const response = await fetch(url, { signal: AbortSignal.timeout(5 * 60_000) });
      if (!response.ok || response.body === null) throw new Error(`${url} answered ${response.status}`);
      await pipeline(Readable.fromWeb(response.body), createWriteStream(join(folder, file)));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function verify(artifacts: readonly Artifact[], folder: string): Promise<void> {
  for (const { file, sha256 } of artifacts) {
    const hash = createHash("sha256");
    for await (const chunk of createReadStream(join(folder, file))) hash.update(chunk as Buffer);
    const found = hash.digest("hex");
    if (found !== sha256) throw new Error(`${file} was fetched with the SHA-256 ${found}, but ${sha256} is expected: it is not used`);
  }
}

async function fetchAll(artifacts: readonly Artifact[], folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const repository = env[VARIABLE];
  const maven = (env["PATH"] ?? "").split(delimiter).some((path) => existsSync(join(path, "mvn")));
  if (maven && (repository === undefined || repository === "")) await byMaven(artifacts, folder, env);
  else await byHttps(artifacts, folder, (repository || CENTRAL).replace(/\/$/, ""));
  await verify(artifacts, folder);
}

/**
 * Fetches jars from a Maven repository into a folder and compares each with its sum. The repository is that of the variable
 * `BROKERKIT_MAVEN_REPOSITORY` (a URL); without one it is the machine's own `mvn`, with its settings, and else the public one.
 * @param lock `<group>:<artifact>:<version>` → SHA-256 of the jar, in hexadecimal digits
 * @throws Error that names the file and its URL when one can't be had, or whose sum is wrong
 */
export async function mavenJars(
  lock: Readonly<Record<string, string>>,
  folder: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  await fetchAll(artifactsOf(lock), folder, env);
}

/**
 * Fetches a distribution, a tar file in which everything is in one folder, from the same repository as `mavenJars`, compares it with its sum,
 * and unpacks what is in that folder.
 * @param coordinates `<group>:<artifact>:<version>:<type>:<classifier>`
 * @param sha256 of the file as it is fetched, in hexadecimal digits
 * @throws Error that names the file and its URL when it can't be had, or whose sum is wrong
 */
export async function mavenArchive(
  coordinates: string,
  sha256: string,
  folder: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<void> {
  const artifacts = artifactsOf({ [coordinates]: sha256 });
  // Beside the folder, where there is room for it: temporary folders may be small.
  const draft = await mkdtemp(`${folder}-archive-`);
  try {
    await fetchAll(artifacts, draft, env);
    for (const { file } of artifacts) await run("tar", ["-xf", join(draft, file), "-C", folder, "--strip-components=1", "--no-same-owner"]);
  } finally {
    await rm(draft, { recursive: true });
  }
}
