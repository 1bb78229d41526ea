import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Broker, connect, type Feature, type Options } from "brokerkit";
import { onTestFinished } from "vitest";

let worlds = 0;

/** A broker in memory with topics of its own, closed when the test ends. */
export async function onMemory(o: Options = {}): Promise<Broker<Feature>> {
  const broker = (await connect(`memory:docs-${process.pid}-${++worlds}`, o)) as Broker<Feature>;
  onTestFinished(() => broker.close({ deadlineMs: 100 }));
  return broker;
}

/** An empty folder, removed when the test ends. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "brokerkit-docs-"));
  onTestFinished(() => rmSync(path, { recursive: true, force: true }));
  return path;
}
