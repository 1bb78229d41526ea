import { describe, expect, test } from "vitest";
import type { Case, Weight } from "../src/case.ts";
import type { CaseResult } from "../src/run.ts";
import { Schedule } from "../src/schedule.ts";
import { until } from "../src/wait.ts";

/** Runs nothing until it is told to; knows what is under way. */
class Stage {
  readonly running = new Map<string, (result: CaseResult) => void>();
  readonly schedule: Schedule;

  constructor(weights: readonly (Weight | undefined)[], places = 4) {
    const cases = weights.map((weight, n): Case => ({ id: `${n}`, states: "", weight, run: async () => {} }));
    this.schedule = new Schedule(cases, places, ({ id }) => new Promise((resolve) => this.running.set(id, resolve)));
  }

  get ids(): string {
    return [...this.running.keys()].join(" ");
  }

  end(id: string): void {
    this.running.get(id)?.({ id, outcome: "pass", ms: 0 });
    this.running.delete(id);
  }
}

const light = (many: number): undefined[] => Array.from({ length: many }, () => undefined);

describe("cases", () => {
  test("run side by side, and one that takes long holds up none of the others", async () => {
    const stage = new Stage(light(8));
    const first = stage.schedule.result(0);
    expect(stage.ids).toBe("0 1 2 3");
    for (const id of ["1", "2", "3"]) stage.end(id);
    await until(() => stage.ids === "0 4 5 6", "three more");
    stage.end("0");
    expect((await first).id).toBe("0");
  });

  test("that are heavy run two at a time, one that is alone with nothing beside it", async () => {
    const stage = new Stage([undefined, "heavy", "heavy", "heavy", "alone", "alone"]);
    void stage.schedule.result(0);
    expect(stage.ids).toBe("0 1");
    stage.end("0");
    await until(() => stage.ids === "1 2", "a second heavy one");
    stage.end("1");
    await until(() => stage.ids === "2 3", "the third");
    stage.end("2");
    stage.end("3");
    await until(() => stage.ids === "4", "the first one alone");
    stage.end("4");
    await until(() => stage.ids === "5", "the other");
  });

  test("that nobody asks for are run only as far as four rounds ahead", async () => {
    const stage = new Stage(light(40));
    void stage.schedule.result(2);
    for (let n = 2; n < 19; n += 1) {
      await until(() => stage.running.has(`${n}`), `case ${n}`);
      stage.end(`${n}`);
    }
    await Promise.resolve();
    expect(stage.ids).toBe("");
    void stage.schedule.result(30);
    expect(stage.ids).toBe("30 31 32 33");
  });
});
