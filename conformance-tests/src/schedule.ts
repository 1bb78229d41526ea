import type { Case } from "./case.ts";
import type { CaseResult } from "./run.ts";

/** How far it runs ahead of the case that is waited for, in rounds of all places. */
const ROUNDS_AHEAD = 4;

/** Runs cases side by side in the order of their list, as long as there are places: one that takes long holds up none of the others. */
export class Schedule {
  readonly #cases: readonly Case[];
  readonly #places: number;
  readonly #run: (one: Case) => Promise<CaseResult>;
  readonly #results: readonly PromiseWithResolvers<CaseResult>[];
  #taken = 0;
  #next = 0;
  #end = 0;

  /** `places`: a light case takes one of them, a heavy one half, one that is alone all. */
  constructor(cases: readonly Case[], places: number, run: (one: Case) => Promise<CaseResult>) {
    this.#cases = cases;
    this.#places = places;
    this.#run = run;
    this.#results = cases.map(() => Promise.withResolvers());
  }

  /** The result of the case at this place of the list. Asked for in order; what is left out is not run, but for what was ahead. */
  async result(index: number): Promise<CaseResult> {
    this.#next = Math.max(this.#next, index);
    this.#end = Math.max(this.#end, index + 1 + ROUNDS_AHEAD * this.#places);
    this.#fill();
    return await (this.#results[index] as PromiseWithResolvers<CaseResult>).promise;
  }

  #fill(): void {
    for (; this.#next < Math.min(this.#end, this.#cases.length); this.#next += 1) {
      const one = this.#cases[this.#next] as Case;
      const takes = this.#takes(one);
      if (this.#taken + takes > this.#places) return;
      this.#taken += takes;
      const { resolve } = this.#results[this.#next] as PromiseWithResolvers<CaseResult>;
      void this.#run(one).then((result) => {
        this.#taken -= takes;
        resolve(result);
        this.#fill();
      });
    }
  }

  #takes({ weight }: Case): number {
    if (weight === "alone") return this.#places;
    return weight === "heavy" ? Math.ceil(this.#places / 2) : 1;
  }
}
