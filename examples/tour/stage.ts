// Where the tour plays: the director's own broker, the processes, what is on the screen, and waiting for what has been seen.
import { setTimeout as pass } from "node:timers/promises";
import { type HistoryRecord, type HistoryWriter, openHistory } from "@brokerkit/conformance/checker";
import { type Proxy, startProxy, TimeoutError, until } from "@brokerkit/conformance/faults";
import { type Broker, connect, isBrokerError, type Topic } from "brokerkit";
import { GROUP, type Order, orders } from "./app.ts";
import { Member } from "./crew.ts";
import type { Job } from "./line.ts";
import { type Plan, planFor } from "./plan.ts";
import { number, type Screen } from "./screen.ts";

/** The tour could not be run: nothing is said about the backend. */
export class TourError extends Error {
  override readonly name = "TourError";
}

export interface Setting {
  readonly url: string;
  readonly orders: number;
  readonly fault: boolean;
  /** Folder of the history; it exists and is empty. */
  readonly history: string;
  /** The file whose presence is the deployed fix. */
  readonly fix: string;
  readonly screen: Screen;
  /** Ends the run early. */
  readonly signal: AbortSignal;
}

/** One line of the table: a step that was shown, or the words that say why it was not. */
export interface Shown {
  readonly step: string;
  readonly shown: boolean;
  readonly text: string;
}

const CUSTOMERS = 500;
const PRODUCERS = ["producer-1", "producer-2"];
/** Orders come in as fast as this, a second, all producers together; in a small run slower, so that it has a middle. */
const PER_SECOND = 3_000;
const SHORTEST_S = 1.5;
/** What a dead worker held comes again after its lease; a tour does not want to wait for a long one. */
const LEASE_MS = 2_000;
const PATIENCE_MS = 60_000;
const WATCH_MS = 100;

export class Stage {
  readonly setting: Setting;
  readonly plan: Plan;
  readonly topic: Topic<typeof Order>;
  readonly producers: Member[] = [];
  readonly workers: Member[] = [];
  readonly shown: Shown[] = [];
  /** Orders that somebody has handled, by id. */
  readonly handled = new Set<string>();
  lag: number | undefined;
  peakLag = 0;
  /** The order that nobody can bill, from when it was given up until it is handled after all. */
  poison: string | undefined;
  readonly #broker: Broker;
  readonly #url: string;
  readonly #prefix: string;
  readonly #history: HistoryWriter;
  readonly #broken = new AbortController();
  readonly #signal: AbortSignal;
  #proxy: Proxy | undefined;
  #watching: Promise<void> | undefined;
  #over = false;

  private constructor(setting: Setting, broker: Broker, url: string) {
    this.setting = setting;
    this.#broker = broker;
    this.#url = url;
    this.#prefix = `tour-${process.pid}-${Date.now().toString(36)}.`;
    this.plan = planFor(url, broker.capabilities);
    this.topic = broker.topic(orders);
    this.#history = openHistory(setting.history, "director");
    this.#signal = AbortSignal.any([setting.signal, this.#broken.signal]);
  }
}
