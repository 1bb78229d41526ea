import { type Broker, connect, type EffectiveCapabilities } from "brokerkit";
import type { Adapter } from "brokerkit/driver";
import type { Case, Need } from "./case.ts";
import { Context } from "./context.ts";
import type { AdapterHarness, Harness } from "./harness.ts";
import { seeded } from "./random.ts";
import { Sites } from "./sites.ts";
import { now, within } from "./wait.ts";

/** What became of one case. */
export interface CaseResult {
  readonly id: string;
  /** `twin`: the record does not claim it, and the call is refused as it should be. `not-claimed`: the same, and there is no call to refuse. */
  readonly outcome: "pass" | "twin" | "not-claimed" | "not-possible" | "gap" | "fail";
  readonly ms: number;
  readonly reason?: string | undefined;
  readonly error?: unknown;
  /** What a failed case's own servers wrote last. */
  readonly serverLogs?: string | undefined;
}

export interface RunOptions {
  readonly seed?: string | undefined;
  /** Sits between core and the adapter, outermost. */
  readonly mutate?: ((adapter: Adapter) => Adapter) | undefined;
  /** How long cases wait for what should come, on top of leases, before they fail. Default 30,000. */
  readonly patienceMs?: number | undefined;
}

/** No case takes nearly as long, but for one whose server starts while the machine does much else. */
const LIMIT_MS = 90_000;

/** Runs cases of one adapter. Which of a case's two forms runs is decided by the record alone. */
export class Run {
  readonly harness: AdapterHarness;
  readonly seed: string;
  readonly results: CaseResult[] = [];
  readonly measured: Record<string, number | string> = {};
  readonly #whole: Harness;
  readonly #sites: Sites;
  readonly #mutate: ((adapter: Adapter) => Adapter) | undefined;
  readonly #patienceMs: number;
  #capabilities: Promise<EffectiveCapabilities> | undefined;

  constructor(whole: Harness, harness: AdapterHarness, o: RunOptions = {}) {
    this.#whole = whole;
    this.harness = harness;
    this.seed = o.seed ?? Math.random().toString(36).slice(2, 10);
    this.#mutate = o.mutate;
    this.#patienceMs = o.patienceMs ?? 30_000;
    this.#sites = new Sites(whole);
  }

  /** Runs one case and keeps the result. Never rejects. */
  async run(one: Case): Promise<CaseResult> {
    const began = now();
    let result: CaseResult;
    try {
      const form = await this.#form(one);
      if ("skip" in form) result = { id: one.id, outcome: form.skip, reason: form.reason, ms: 0 };
      else {
        const failure = await this.#perform(one, form.run);
        const outcome = failure !== undefined ? "fail" : form.twin ? "twin" : "pass";
        result = { id: one.id, outcome, ms: Math.round(now() - began), ...failure };
      }
    } catch (error) {
      result = { id: one.id, outcome: "fail", ms: Math.round(now() - began), error };
    }
    result = this.#withGap(result);
    this.results.push(result);
    return result;
  }

  async versions(): Promise<Readonly<Record<string, string>>> {
    const site = await this.#sites.usual();
    const server = site.broker === undefined ? {} : { server: site.broker.version, source: site.broker.source };
    return { node: process.versions.node, ...server, ...(await this.harness.versions?.(site)) };
  }

  /** The record that users see, read once from a plain broker. */
  capabilities(): Promise<EffectiveCapabilities> {
    this.#capabilities ??= (async (): Promise<EffectiveCapabilities> => {
      const broker = (await connect(this.harness.adapter(await this.#sites.usual()))) as Broker;
      const { capabilities } = broker;
      await broker.close();
      return capabilities;
    })();
    return this.#capabilities;
  }

  async close(): Promise<void> {
    await this.#sites.close();
  }

  async #form(
    one: Case,
  ): Promise<
    { readonly run: Case["run"]; readonly twin: boolean } | { readonly skip: "not-claimed" | "not-possible"; readonly reason: string }
  > {
    const lacking = await this.#lacking(one);
    const claimed = one.requires?.(await this.capabilities()) ?? true;
    if (!claimed)
      return one.twin === undefined ? { skip: "not-claimed", reason: "the record does not claim it" } : { run: one.twin, twin: true };
    if (lacking !== undefined) return { skip: "not-possible", reason: lacking };
    return { run: one.run, twin: false };
  }

  async #lacking(one: Case): Promise<string | undefined> {
    if (one.needs === undefined) return one.lacks?.(this.harness);
    const site = await this.#sites.usual();
    const url = this.harness.url(site) !== undefined;
    const there: Readonly<Record<Need, readonly [boolean, string]>> = {
      url: [url, "no second process can share this backend"],
      server: [this.#whole.broker !== undefined, "the backend has no server"],
      files: [this.#whole.broker === undefined && url, "the backend is no file"],
      foreign: [this.harness.foreign !== undefined, "there is no plain client"],
      expire: [this.harness.provoke?.expire !== undefined, "nothing can expire"],
    };
    return one.needs.map((need) => there[need]).find(([has]) => !has)?.[1] ?? one.lacks?.(this.harness);
  }

  /** Resolves to what the case failed with; rejects with what its clean-up did. */
  async #perform(one: Case, run: Case["run"]): Promise<Pick<CaseResult, "error" | "serverLogs"> | undefined> {
    const context = new Context({
      harness: this.harness,
      site: await this.#sites.usual(),
      capabilities: await this.capabilities(),
      random: seeded(`${this.seed}/${one.id}`),
      mutate: this.#mutate,
      own: () => this.#sites.own(),
      patienceMs: this.#patienceMs,
      measure: (name, value) => {
        this.measured[name] = value;
      },
    });
    try {
      await within(run(context), one.limitMs ?? LIMIT_MS, `the case ${one.id}`);
    } catch (error) {
      const serverLogs = await context.serverLogs();
      // The case's own failure is the one to see, whatever its clean-up meets.
      await context.cleanUp().catch(() => {});
      await this.#sites.discard();
      return { error, serverLogs };
    }
    await context.cleanUp();
    return undefined;
  }

  #withGap(result: CaseResult): CaseResult {
    const gap = this.harness.gaps?.find((entry) => entry.case === result.id);
    if (gap === undefined) return result;
    if (result.outcome === "fail") return { ...result, outcome: "gap", reason: `${gap.reason} (${gap.issue})` };
    const does = result.outcome === "pass" ? "passes" : "does not run";
    return {
      ...result,
      outcome: "fail",
      error: new Error(`${result.id} is listed as a known gap (${gap.reason}) and ${does}: remove it from the list.`),
    };
  }
}
