import { unsubscribe as offChannel, subscribe as onChannel } from "node:diagnostics_channel";
import { createServer } from "node:net";
import { inspect } from "node:util";
import { type Broker, connect } from "brokerkit";
import { check, defined, equal, isError, outcome, refuses } from "../assert.ts";
import type { Case } from "../case.ts";
import type { Context } from "../context.ts";
import type { AdapterHarness, Provocation, ProvocationId } from "../harness.ts";
import { Sink } from "../sink.ts";
import { now, took, within } from "../wait.ts";

/** A loopback port on which nothing listens. */
async function closedPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 1;
}

/** Everything that could print of an error, with its causes. */
function printed(error: unknown): string {
  const texts = [String(error), inspect(error, { depth: 12, showHidden: true, getters: true }), safeJson(error)];
  for (let at: unknown = error; at instanceof Error; at = at.cause) texts.push(at.message, at.stack ?? "", safeJson({ ...at }));
  return texts.join("\n");
}

function safeJson(value: unknown): string {
  try {
    return JSON.stringify(value) ?? "";
  } catch {
    return "";
  }
}

function keepsSecrets(value: unknown, secrets: readonly string[], what: string): void {
  const text = printed(value);
  for (const secret of secrets) {
    for (const form of [secret, encodeURIComponent(secret), Buffer.from(secret).toString("base64")]) {
      check(!text.includes(form), `${what} holds a secret`);
    }
  }
}

async function provoked(t: Context, provocation: Provocation): Promise<void> {
  const made = await provocation.setUp(t.site);
  t.defer(() => made.cleanUp());
  const logged: unknown[] = [];
  const log = (...parts: unknown[]): void => {
    logged.push(...parts);
  };
  const events: unknown[] = [];
  const listen = (event: unknown): void => {
    events.push(event);
  };
  onChannel("brokerkit.event", listen);
  t.defer(() => offChannel("brokerkit.event", listen));
  const options = { logger: { info: log, warn: log, error: log } };
  const lazy = t.lazy({ adapter: made.adapter, ...options });
  const name = t.topic();
  const steps: Readonly<Record<Provocation["at"], () => Promise<unknown>>> = {
    connect: () => lazy.broker.connect(),
    publish: () => lazy.broker.topic(name).publish("x".repeat(10_000), { timeoutMs: 8_000 }),
    subscribe: () => new Sink().join(lazy.broker.topic(name), t.way()),
  };
  if (provocation.at !== "connect") await lazy.broker.connect();
  const began = now();
  const verdict = await within(outcome(steps[provocation.at]()), 20_000, `${provocation.at}, with ${provocation.id}`);
  took(began, 0, 15_000, "time until the error");
  check(!verdict.ok, `${provocation.at} with ${provocation.id} rejects`);
  const error = isError(verdict.error, [provocation.code], provocation.id);
  equal(error.retryable, provocation.retryable, "retryable");
  check(error.message.length > 20 && error.cause !== undefined, "the message says what happened, and the cause is kept");
  keepsSecrets(error, made.secrets, "the error");
  keepsSecrets(lazy.broker, made.secrets, "the broker, inspected");
  keepsSecrets(made.adapter, made.secrets, "the adapter, inspected");
  if (made.url !== undefined)
    keepsSecrets(
      (await outcome(connect(made.url, options).then((broker) => (broker as Broker).close()))) as unknown,
      made.secrets,
      "the error of connecting by URL",
    );
  keepsSecrets(logged, made.secrets, "the log");
  keepsSecrets(events, made.secrets, "an event");
  if (made.undo === undefined) return;
  await made.undo();
  await within(steps[provocation.at](), 20_000, `${provocation.at} after ${provocation.id} is over, on the same handle`);
}

function provocation(id: ProvocationId, states: string, network: boolean): Case {
  const find = (harness: AdapterHarness): Provocation | undefined => harness.provoke?.errors?.find((entry) => entry.id === id);
  return {
    id: `errors/${id}`,
    states,
    ...(network ? { needs: ["server"] as const } : {}),
    lacks(harness) {
      if (find(harness) !== undefined) return undefined;
      const absent: Readonly<Record<string, string | undefined>> = harness.provoke?.absent ?? {};
      // Without a word about it a network error is a failure: see below.
      return network ? absent[id] : "the harness does not provoke it";
    },
    run: (t) =>
      provoked(t, defined(find(t.harness), `"${id}" in harness.provoke.errors, or in harness.provoke.absent the reason why not,`)),
  };
}

export const errors: readonly Case[] = [
  {
    id: "errors/nothing-listening",
    states: "Connecting where nothing listens is UNAVAILABLE, retryable, bounded in time, and never hangs.",
    needs: ["server"],
    async run(t) {
      const site = { ...t.site, host: "127.0.0.1", port: await closedPort() };
      const { broker } = t.lazy({ site });
      const began = now();
      const error = await within(
        refuses(() => broker.connect(), "UNAVAILABLE", "connect"),
        20_000,
        "connect where nothing listens",
      );
      took(began, 0, 15_000, "time until the error");
      equal(error.retryable, true, "retryable");
      const late = await within(
        refuses(() => broker.topic(t.topic()).publish("x", { timeoutMs: 500 }), ["UNAVAILABLE", "TIMEOUT"], "publish"),
        10_000,
        "publish where nothing listens",
      );
      equal(late.inDoubt, false, "inDoubt of a publish that never left");
    },
  },
  {
    id: "errors/secrets",
    states: "Credentials of a URL appear in no error, no inspection, no JSON and no log, in no form.",
    needs: ["server", "url"],
    async run(t) {
      const secrets = ["canary-user-8c1f", "canary-pass/8c1f+%"];
      const site = { ...t.site, host: "127.0.0.1", port: await closedPort() };
      const plain = t.url(site);
      const url = plain.replace(/:\/\/([^@/?]*@)?/, `://${secrets.map(encodeURIComponent).join(":")}@`);
      check(url !== plain, "the harness's URL has an authority");
      const logged: unknown[] = [];
      const log = (...parts: unknown[]): void => {
        logged.push(...parts);
      };
      const verdict = await within(outcome(connect(url, { logger: { info: log, warn: log, error: log } })), 20_000, "connect");
      check(!verdict.ok, "connect where nothing listens rejects");
      keepsSecrets(verdict.error, secrets, "the error");
      keepsSecrets(logged, secrets, "the log");
      for (const bad of [
        `${url}?nonsense=1`,
        `${url}#fragment`,
        url.replace("://", "://:"),
        `nosuch-scheme://${secrets.map(encodeURIComponent).join(":")}@host`,
      ]) {
        const refused = await outcome(connect(bad));
        if (!refused.ok) keepsSecrets(refused.error, secrets, "the error for a malformed URL");
      }
    },
  },
  provocation("wrong-password", "A wrong password is UNAUTHENTICATED, without the password anywhere.", true),
  provocation("forbidden", "What the account may not do is FORBIDDEN.", true),
  provocation("tls-bad-ca", "A certificate of an unknown authority is refused.", true),
  provocation("tls-wrong-host", "A certificate for another host is refused.", true),
  provocation("tls-expired", "An expired certificate is refused.", true),
  provocation("plain-to-tls-port", "Speaking plainly to a TLS port fails in bounded time, typed.", true),
  provocation(
    "full",
    "A backend that can't store more answers typed and retryable; nothing confirmed is lost, and it works again when there is room.",
    false,
  ),
  provocation("locked", "A database file that another process has locked is a typed error, and works when it is free.", false),
  provocation("read-only", "A database file that can't be written is a typed error.", false),
  provocation("corrupt", "A database file that is none is a typed error, and the file is left as it was.", false),
  {
    id: "errors/typed",
    states: "Every error of a failing driver call is a BrokerError with its adapter, its topic and its cause.",
    async run(t) {
      const cause = new Error("raw client error");
      const { broker } = await t.record({
        tap: { publish: async (records) => records.map(() => ({ ok: false, error: cause, sent: "no" })) },
      });
      const name = t.topic();
      const verdict = await outcome(broker.topic(name).publish("x", { timeoutMs: 300 }));
      check(!verdict.ok, "publish rejects");
      const error = isError(verdict.error, ["INTERNAL", "UNAVAILABLE", "TIMEOUT"], "publish");
      equal([error.adapter, error.topic], [t.harness.name, name], "adapter and topic");
      check(error.code === "TIMEOUT" || error.cause === cause, "cause is the client's own error");
      check(defined(error.message, "message").includes(name), "the message names the topic");
    },
  },
];
