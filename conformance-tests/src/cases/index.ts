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

/** Every case, what runs by itself last. */
export const CASES: readonly Case[] = Object.freeze(
  [declared, publish, payload, subscribe, ack, nack, deadLetter, lease, order, replay, delay, flow, lifecycle, admin, errors, faults]
    .flat()
    .sort((a, b) => Number(a.alone ?? false) - Number(b.alone ?? false)),
);
