import type { Case } from "../case.ts";
import { ack } from "./ack.ts";
import { admin } from "./admin.ts";
import { deadLetter } from "./dead-letter.ts";
import { declared } from "./declared.ts";
import { delay } from "./delay.ts";
import { errors } from "./errors.ts";
import { faults } from "./faults.ts";
import { flow } from "./flow.ts";
import { lease } from "./lease.ts";
import { lifecycle } from "./lifecycle.ts";
import { nack } from "./nack.ts";
import { order } from "./order.ts";
import { payload } from "./payload.ts";
import { publish } from "./publish.ts";
import { replay } from "./replay.ts";
import { subscribe } from "./subscribe.ts";

const WEIGHTS: readonly Case["weight"][] = [undefined, "heavy", "alone"];

const longest = ({ weight, limitMs = 0 }: Case): number => (weight === "heavy" ? limitMs : 0);

/** Every case: the light ones, then the heavy ones with the longest first, and last what runs by itself. */
export const CASES: readonly Case[] = Object.freeze(
  [declared, publish, payload, subscribe, ack, nack, deadLetter, lease, order, replay, delay, flow, lifecycle, admin, errors, faults]
    .flat()
    .sort((a, b) => WEIGHTS.indexOf(a.weight) - WEIGHTS.indexOf(b.weight) || longest(b) - longest(a)),
);
