// One chat on any backend: `BROKER_URL=redis+pubsub://localhost:6379 node tools/setup.mjs node examples/swap/main.ts`, then with redis: or
// kafka: instead. It plays an evening in a room, a member and the moderation being away for a while, and says who saw what.
import { randomUUID } from "node:crypto";
import { type Broker, connect } from "brokerkit";
import { count, Screen } from "../tour/screen.ts";
import { join, lines, moderate, type Visit } from "./chat.ts";

const ROOM = "tea";
const WORKERS = 2;
/** Longest wait for something that must happen. */
const PATIENCE_MS = 30_000;

/** What a reader has seen: each line once, whatever comes twice. */
class Reader {
  readonly seen = new Map<string, string>();
  /** Lines that came again: at least once may mean twice. */
  again = 0;
  readonly #moved: () => void;

  constructor(moved: () => void) {
    this.#moved = moved;
  }

  readonly read = ({ text }: { readonly text: string }, id: string): void => {
    if (this.seen.has(id)) this.again++;
    this.seen.set(id, text);
    this.#moved();
  };

  has(texts: readonly string[]): boolean {
    const mine = [...this.seen.values()];
    return texts.every((text) => mine.includes(text));
  }
}

/** Resolves when something that was waited for has happened. */
class Watch {
  #waiting: (() => void)[] = [];

  readonly moved = (): void => {
    for (const check of this.#waiting.splice(0)) check();
  };

  async until(what: string, done: () => boolean): Promise<void> {
    const late = AbortSignal.timeout(PATIENCE_MS);
    while (!done()) {
      if (late.aborted) throw new Error(`waited ${PATIENCE_MS / 1_000} s for ${what}`);
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiting.push(resolve);
      late.addEventListener("abort", () => resolve(), { once: true });
      await promise;
    }
  }
}

export interface Evening {
  readonly features: { readonly groups: boolean; readonly replay: boolean };
  /** What each member has seen, in order. */
  readonly members: Readonly<Record<string, readonly string[]>>;
  /** Lines of before that were read when bo came back, and when cy came for the first time; null: none are kept. */
  readonly history: { readonly back: number | null; readonly first: number | null };
  readonly moderation: { readonly workers: number; readonly lines: number; readonly looked: number };
}

async function evening(broker: Broker<never>, screen: Screen): Promise<Evening> {
  const watch = new Watch();
  const [ada, bo, cy, moderation] = [watch, watch, watch, watch].map(({ moved }) => new Reader(moved)) as [Reader, Reader, Reader, Reader];
  const topic = broker.topic(lines(broker.capabilities));
  const all: string[] = [];
  const say = async (user: string, room: string, texts: readonly string[]): Promise<void> => {
    all.push(...texts);
    for (const text of texts) await topic.publish({ room, user, text });
  };
  const told = (visit: Visit): string =>
    visit.history === undefined ? "history is not kept by this backend" : `read ${count(visit.history, "line")} of before`;

  const { groups, replay, atLeastOnce } = broker.features;
  screen.story("joined", `ada and bo are in the room ${ROOM}`);
  const host = await join(broker, ROOM, ada.read);
  const visit = await join(broker, ROOM, bo.read);
  let moderators = await moderate(broker, WORKERS, moderation.read);
  const workers = moderators.length;
  screen.story(
    "moderation",
    groups ? `${WORKERS} workers share the lines` : "one worker looks at every line: this backend has no groups to share in",
  );

  const first = ["hello", "tea is ready", "with milk?"];
  await say("ada", ROOM, first);
  await say("dee", "garden", ["is anybody here?"]);
  await watch.until("those in the room to hear what ada said", () => ada.has(first) && bo.has(first) && moderation.has(all));
  screen.story("live", `ada said ${first.length} things, and bo heard ${bo.seen.size}; what dee said in another room, neither heard`);

  const left = await visit.leave();
  await Promise.all(moderators.map((one) => one.close()));
  const meanwhile = ["bo?", "well then", "one cup is left", "it gets cold"];
  await say("ada", ROOM, meanwhile);
  await watch.until("ada to hear herself", () => ada.has(meanwhile));
  screen.story("away", `bo left and moderation was deployed anew; meanwhile ada said ${meanwhile.length} things`);

  const back = await join(broker, ROOM, bo.read, left);
  screen.story("back", `bo: ${told(back)}`);
  moderators = await moderate(broker, WORKERS, moderation.read);
  const newcomer = await join(broker, ROOM, cy.read);
  screen.story("first time", `cy: ${told(newcomer)}`);

  const last = ["good night"];
  await say("ada", ROOM, last);
  await watch.until("all to hear the last line", () => [ada, bo, cy].every((one) => one.has(last)));
  await watch.until("moderation to look at what waited for it", () => moderation.has(atLeastOnce ? all : last));

  const { length } = all;
  const room = length - 1;
  const has = (reader: Reader, of: number): string =>
    reader.seen.size === of ? `all ${of}` : `${reader.seen.size} (${of - reader.seen.size} lost)`;
  screen.story("seen", `of the ${room} lines in the room ada has ${has(ada, room)}, bo ${has(bo, room)}, cy ${has(cy, room)}`);
  screen.story("looked at", `of the ${length} lines in all rooms moderation has ${has(moderation, length)}`);
  const again = [ada, bo, cy, moderation].reduce((sum, one) => sum + one.again, 0);
  if (again > 0) screen.story("twice", `${count(again, "line")} came again, and were told by their id`);
  await Promise.all([host, back, newcomer].map((one) => one.leave()));
  await Promise.all(moderators.map((one) => one.close()));
  const texts = (reader: Reader): readonly string[] => [...reader.seen.values()];
  return {
    features: { groups, replay },
    members: { ada: texts(ada), bo: texts(bo), cy: texts(cy) },
    history: { back: back.history ?? null, first: newcomer.history ?? null },
    moderation: { workers, lines: length, looked: moderation.seen.size },
  };
}

async function main(): Promise<number> {
  const json = process.argv.includes("--json");
  const screen = new Screen(json ? process.stderr : process.stdout);
  const url = process.env["BROKER_URL"] ?? "memory:";
  try {
    // Nothing is required: what a backend may lack, the chat asks for before it calls it, and the compiler sees to that. A topic for each evening.
    await using broker = await connect(url, { requires: [], prefix: `swap-${randomUUID().slice(0, 8)}.` });
    screen.story("backend", url.slice(0, url.indexOf(":")));
    const outcome = await evening(broker, screen);
    await broker.topic(lines(broker.capabilities)).delete();
    if (json) process.stdout.write(`${JSON.stringify(outcome)}\n`);
    return 0;
  } catch (error) {
    process.stderr.write(`swap: ${error instanceof Error ? error.message : String(error)}\n`);
    return 1;
  }
}

process.exitCode = await main();
