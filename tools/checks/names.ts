import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Check } from "../check.ts";
import { filesIn, foldersIn } from "../workspace.ts";

/** Brokers and their clients, as whole words or as parts of camelCase, snake_case and kebab-case names. */
const BROKERS = new Set("kafka kafkajs rabbit rabbitmq amqp amqps amqplib sqs sns redis rediss ioredis nats jetstream pulsar".split(" "));

/** The words of a line: `REDIS_URL`, `RabbitMQ`, `toSqsQueue` and `jet-stream` all fall into their parts. */
function words(line: string): string[] {
  const parts = line.match(/[A-Z]+(?![a-z])|[A-Z]?[a-z]+/g) ?? [];
  const pairs = parts.map((part, index) => part + (parts[index + 1] ?? ""));
  return [...parts, ...pairs].map((word) => word.toLowerCase());
}

/** Lines of the portable layer and of the suite that name a broker. */
export function brokerNames(root: string): string[] {
  const found: string[] = [];
  const folders = [...foldersIn(root, "packages").map((name) => `packages/${name}/src`), "conformance-tests/src"];
  for (const path of folders.flatMap((folder) => filesIn(root, folder))) {
    if (path.endsWith(".generated.ts")) continue;
    const text = readFileSync(join(root, path), "utf8");
    for (const [index, line] of text.split("\n").entries()) {
      const named = words(line).find((word) => BROKERS.has(word));
      if (named !== undefined) {
        found.push(
          `${path}:${index + 1}: names "${named}"; speak of the capability instead, or take the name from the adapters' manifests`,
        );
      }
    }
  }
  return found;
}

const check: Check = {
  name: "no broker is named in the portable layer or in the suite",
  run: async (root) => brokerNames(root),
};
export default check;
