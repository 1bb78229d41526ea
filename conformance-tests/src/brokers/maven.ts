import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { run } from "./run.ts";

const CENTRAL = "https://repo1.maven.org/maven2";
const VARIABLE = "BROKERKIT_MAVEN_REPOSITORY";
const PLUGIN = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";
/** Files that are fetched at a time. */
const LANES = 6;

interface Jar {
  readonly group: string;
  readonly artifact: string;
  readonly version: string;
  readonly file: string;
  readonly sha256: string;
}

function jarsOf(lock: Readonly<Record<string, string>>): readonly Jar[] {
  return Object.entries(lock).map(([coordinates, sha256]) => {
    const [group, artifact, version] = coordinates.split(":");
    if (group === undefined || artifact === undefined || version === undefined) {
      throw new Error(`"${coordinates}" is no "<group>:<artifact>:<version>"`);
    }
    return { group, artifact, version, file: `${artifact}-${version}.jar`, sha256 };
  });
}

/** A project that depends on exactly these files and on nothing that they would bring along. */
function pom(jars: readonly Jar[]): string {
  const dependencies = jars.map(
    ({ group, artifact, version }) =>
      `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${version}</version>` +
      "<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId></exclusion></exclusions></dependency>",
  );
  return (
    '<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion><groupId>brokerkit</groupId>' +
    `<artifactId>jars</artifactId><version>1</version>\n<dependencies>\n${dependencies.join("\n")}\n</dependencies></project>\n`
  );
}

/** By the machine's own Maven, whose settings know proxies and mirrors. */
async function byMaven(jars: readonly Jar[], folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const project = await mkdtemp(join(tmpdir(), "brokerkit-maven-"));
  try {
    await writeFile(join(project, "pom.xml"), pom(jars));
    await run("mvn", ["-q", "-B", "-f", join(project, "pom.xml"), PLUGIN, `-DoutputDirectory=${folder}`], { cwd: project, env });
  } finally {
    await rm(project, { recursive: true });
  }
}

async function byHttps(jars: readonly Jar[], folder: string, repository: string): Promise<void> {
  const left = jars.values();
  const lane = async (): Promise<void> => {
    for (const { group, artifact, version, file } of left) {
      const url = `${repository}/${group.replaceAll(".", "/")}/${artifact}/${version}/${file}`;
      const response = await fetch(url, { signal: AbortSignal.timeout(5 * 60_000) });
      if (!response.ok) throw new Error(`${url} answered ${response.status}`);
      await writeFile(join(folder, file), new Uint8Array(await response.arrayBuffer()));
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

async function verify(jars: readonly Jar[], folder: string): Promise<void> {
  for (const { file, sha256 } of jars) {
    const found = createHash("sha256")
      .update(await readFile(join(folder, file)))
      .digest("hex");
    if (found !== sha256) throw new Error(`${file} was fetched with the SHA-256 ${found}, but ${sha256} is expected: it is not used`);
  }
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
  const jars = jarsOf(lock);
  const repository = env[VARIABLE];
  const maven = (env["PATH"] ?? "").split(delimiter).some((path) => existsSync(join(path, "mvn")));
  if (maven && (repository === undefined || repository === "")) await byMaven(jars, folder, env);
  else await byHttps(jars, folder, (repository || CENTRAL).replace(/\/$/, ""));
  await verify(jars, folder);
}
