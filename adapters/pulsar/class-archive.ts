import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Place, type Program, type ReservedPort, reservePort } from "@brokerkit/conformance/brokers";
import { startProcess } from "@brokerkit/conformance/faults";

export const ARCHIVE = "classes.jsa";
/** The name of the library in a broker's own folder: the archive holds for classes that are found by the same path. */
export const LINK = "library";

export interface Training {
  readonly ports: number;
  readonly files: (place: Place) => Readonly<Record<string, string | Uint8Array>>;
  readonly args: (place: Place) => readonly string[];
  /** Resolves when the server has started. */
  readonly started: (place: Place) => Promise<void>;
}

/**
 * Most of a start is the loading of ten thousand classes. One start leaves them behind as the virtual machine has them in memory, which the
 * later ones map: https://docs.oracle.com/en/java/javase/17/docs/specs/man/java.html#application-class-data-sharing
 * A machine that can't is no failure: without the archive a start takes longer.
 * @param library the folder that gets the archive
 */
export async function archiveClasses(library: string, { binary, home, env }: Program, training: Training): Promise<void> {
  const folder = await mkdtemp(join(dirname(library), "pulsar-start-"));
  const ports: ReservedPort[] = [];
  try {
    for (let n = 0; n <= training.ports; n++) ports.push(await reservePort());
    const [port, ...extraPorts] = ports.map((reserved) => reserved.port) as [number, ...number[]];
    const place: Place = {
      ...{ host: "127.0.0.1", port, extraPorts, options: {}, binary, home, library },
      ...{ data: join(folder, "data"), conf: join(folder, "conf") },
    };
    await mkdir(place.data);
    await mkdir(place.conf);
    await symlink(library, join(folder, LINK));
    for (const [name, content] of Object.entries(training.files(place))) await writeFile(join(place.conf, name), content);
    const args = [`-XX:ArchiveClassesAtExit=${join(library, ARCHIVE)}`, ...training.args(place)];
    const log = join(folder, "log");
    await using server = await startProcess({ name: "pulsar", command: binary, args, cwd: folder, env: { ...process.env, ...env }, log });
    await Promise.race([training.started(place), server.exited]);
    await server.terminate(60_000);
  } catch (error) {
    process.emitWarning(`Pulsar starts without an archive of its classes: ${error instanceof Error ? error.message : String(error)}`);
  } finally {
    for (const reserved of ports) await reserved.release();
    await rm(folder, { recursive: true, force: true, maxRetries: 3 });
  }
}
