// The director: what happens on the tour, in its order. It waits for what it has seen, never for a time.
import { mkdirSync, readdirSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type HistoryWriter, historyTime, openHistory } from "@brokerkit/conformance/checker";
import { type Proxy, startProxy, TimeoutError, until } from "@brokerkit/conformance/faults";
import { type Broker, type BrokerError, connect, isBrokerError } from "brokerkit";
import { GROUP, orders } from "./app.ts";
import { Member } from "./crew.ts";
import { type Job, orderId } from "./line.ts";
import { claimsOf, type Plan, planFor, type Reader } from "./plan.ts";
import { count, number, type Screen } from "./screen.ts";
import { digest } from "./witness.ts";
import { keepClaims } from "./judge.ts";

/** The tour could not be run: nothing is said about the backend. */
export class TourError extends Error {
  override readonly name = "TourError";
}

export interface Stage {
  readonly url: string;
  readonly orders: number;
  readonly fault: boolean;
  /** Where the history goes, and where the fix is deployed; both exist. */
  readonly history: string;
  readonly folder: string;
  readonly screen: Screen;
  /** Ends the run early: everything that was started is ended. */
  readonly signal: AbortSignal;
}

/** One line of the table of what was shown. */
export interface Shown {
  readonly step: string;
  readonly text: string;
  /** False: the backend can't, and the text says why. */
  readonly shown: boolean;
}

const CUSTOMERS = 500;
const WORKERS = 3;
const PRODUCERS = 2;
/** As fast as orders may come in, a second, both producers together; a small run takes this long at the least, so that there is a middle. */
const PER_SECOND = 3_000;
const SHORTEST_MS = 1_500;
/** A dead worker's deliveries come again after their lease: a tour does not want to wait for a long one. */
const LEASE_MS = 2_000;
const PATIENCE_MS = 60_000;

export class Director {
  readonly #stage: Stage;
  readonly #broker: Broker;
  readonly #plan: Plan;
  readonly #url: string;
  readonly #prefix: string;
  readonly #history: HistoryWriter;
  readonly #producers: Member[] = [];
  readonly #workers: Member[] = [];
  readonly #shown: Shown[] = [];
  readonly #broken = new AbortController();
  readonly #stop: AbortSignal;
  #proxy: Proxy | undefined;
  #replayed: Reader | undefined;
  /** The order that nobody can bill, while it is a dead letter or on the way there. */
  #poison: string | undefined;
  #buried = false;
  #peakLag = 0;
  #lag: number | undefined;
  #watching: Promise<void> | undefined;
  #watched = true;

  constructor(stage: Stage, broker: Broker, url: string, prefix: string) {
    this.#stage = stage;
    this.#broker = broker;
    this.#url = url;
    this.#prefix = prefix;
    this.#plan = planFor(url, broker.capabilities);
    this.#history = openHistory(stage.history, "director");
    this.#stop = AbortSignal.any([stage.signal, this.#broken.signal]);
  }

  get plan(): Plan {
    return this.#plan;
  }

  get shown(): readonly Shown[] {
    return this.#shown;
  }
}
