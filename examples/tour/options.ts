// The command line of the tour.
import { parseArgs } from "node:util";

export interface TourOptions {
  readonly orders: number;
  readonly fault: boolean;
  readonly json: boolean;
  /** Where the history is kept; `undefined`: in a temporary folder, removed when the verdict is "valid". */
  readonly history: string | undefined;
  /** Judge this kept history again instead of running. */
  readonly judge: string | undefined;
  readonly help: boolean;
}

/** The command line makes no sense: say why and end with 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export const HELP = `The tour: one application on the backend that BROKER_URL names, with a fault in the middle, judged by a history checker.

  npm start                                        on the embedded broker: one SQLite file in a temporary folder
  BROKER_URL=redis://localhost:6379 npm start      the same application elsewhere (npm run brokers -- up redis)

  Two producers publish orders, three workers bill them, each in a process of its own. On the way a worker is killed (where
  nothing can be delivered again: its link is cut), an order that nobody can bill becomes a dead letter and is redriven, and
  the orders are replayed from a point in time while the workers go on. Every process writes down what it does before it does
  it; at the end the checker reads what they wrote and says what was lost, doubled or out of order.

Options, after "--" (npm start -- --orders 2000):
  --orders <n>       orders in all, 100 to 200000; default 10000
  --no-fault         leave the fault out
  --history <dir>    keep the history there: one JSON Lines file a process, and claims.json. The folder must hold no history yet
  --judge <dir>      run nothing; judge a history that was kept
  --json             the verdict as one JSON object on standard output; the story goes to standard error
  --help             this text

Environment:
  BROKER_URL         the backend; it must be one that several processes can share
  NO_COLOR           no colours on a terminal either

Exit code: 0 the history is valid; 1 it is not; 2 the tour could not run (or the command line is wrong).`;

/** The director reads histories whole. */
const MOST = 200_000;

const KNOWN = {
  orders: { type: "string", default: "10000" },
  "no-fault": { type: "boolean", default: false },
  history: { type: "string" },
  judge: { type: "string" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

export function readOptions(args: readonly string[]): TourOptions {
  const values = parsed(args);
  const orders = Number(values.orders);
  if (!Number.isInteger(orders) || orders < 100 || orders > MOST) {
    throw new UsageError(`--orders takes a whole number from 100 to ${MOST}, not "${values.orders}"`);
  }
  if (values.history === "" || values.judge === "") throw new UsageError("--history and --judge take the path of a folder");
  return {
    orders: orders - (orders % 2),
    fault: !values["no-fault"],
    json: values.json,
    history: values.history,
    judge: values.judge,
    help: values.help,
  };
}

function parsed(args: readonly string[]) {
  try {
    return parseArgs({ args: [...args], options: KNOWN, allowPositionals: false }).values;
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error));
  }
}
