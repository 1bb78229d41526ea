import { createHash, randomBytes, randomUUID } from "node:crypto";
import { dirname, join } from "node:path";
import type { BrokerOptions, BrokerRecipe, Endpoint, Place } from "@brokerkit/conformance/brokers";
import { type ChannelModel, connect } from "amqplib";

const DEFINITIONS = "definitions.json";
const CHOSEN = ["user", "password", "configure", "write", "read", "tls", "verify", "control"];

/**
 * A start is changed by
 * - `user`, `password`: who is let in instead of guest; `configure`, `write`, `read`: patterns of what that user may do, all by default;
 * - `tls`: a folder with ca.pem, server.pem and server.key, for a listener with TLS only; `verify`: "verify_peer" asks clients for one too;
 * - `control`: a path that gets a shell script, `sh <path> <command …>`, which is rabbitmqctl for this very server;
 * - any name with a dot, and `consumer_timeout`: a line of the server's configuration.
 */
function chosen(options: BrokerOptions): readonly string[] {
  return Object.entries(options).flatMap(([name, value]) => {
    if (name.includes(".") || name === "consumer_timeout") return [`${name} = ${value}`];
    if (CHOSEN.includes(name)) return [];
    throw new Error(
      `RabbitMQ: there is no option "${name}" for tests; known: ${CHOSEN.join(", ")}, consumer_timeout, and settings of the server with a dot`,
    );
  });
}

/** https://www.rabbitmq.com/docs/configure#config-file */
function configuration({ host, port, conf, options }: Place): string {
  const { user, tls, verify = "verify_none" } = options;
  const lines = ["log.console = true", "log.console.level = warning", "log.file = false"];
  if (tls === undefined) lines.push(`listeners.tcp.1 = ${host}:${port}`);
  else {
    lines.push("listeners.tcp = none", `listeners.ssl.1 = ${host}:${port}`);
    lines.push(`ssl_options.cacertfile = ${join(tls, "ca.pem")}`, `ssl_options.certfile = ${join(tls, "server.pem")}`);
    lines.push(`ssl_options.keyfile = ${join(tls, "server.key")}`, `ssl_options.verify = ${verify}`);
    if (verify === "verify_peer") lines.push("ssl_options.fail_if_no_peer_cert = true");
  }
  if (user !== undefined) lines.push(`load_definitions = ${join(conf, DEFINITIONS)}`);
  return `${[...lines, ...chosen(options)].join("\n")}\n`;
}

/** Who is let in instead of guest, and what they may do: https://www.rabbitmq.com/docs/definitions */
function definitions({ user: name = "guest", password = "guest", configure = ".*", write = ".*", read = ".*" }: BrokerOptions): string {
  // https://www.rabbitmq.com/docs/passwords#computing-password-hash
  const salt = randomBytes(4);
  const hashed = createHash("sha256").update(salt).update(password).digest();
  const password_hash = Buffer.concat([salt, hashed]).toString("base64");
  return JSON.stringify({
    vhosts: [{ name: "/" }],
    users: [{ name, password_hash, hashing_algorithm: "rabbit_password_hashing_sha256", tags: "" }],
    permissions: [{ user: name, vhost: "/", configure, write, read }],
  });
}

/** Erlang's launcher has the folder built in that it was made for; one that lies elsewhere is told its own. */
function launcher({ home }: Place): string {
  const root = join(home, "usr/lib/erlang");
  return [
    "#!/bin/sh",
    `ROOTDIR='${root}' EMU=beam PROGNAME=erl`,
    'for BINDIR in "$ROOTDIR"/erts-*/bin; do :; done',
    "export ROOTDIR EMU PROGNAME BINDIR",
    'exec "$BINDIR/erlexec" "$@"',
    "",
  ].join("\n");
}

const nodeOf = ({ port }: Place): string => `rabbit-${port}@localhost`;

/**
 * Nodes find each other's ports by a daemon that the first of them starts and that outlives them all. There is only one node here, and its
 * port is known: the daemon is not started, and nothing is left behind. https://www.erlang.org/doc/apps/erts/erl_cmd.html
 */
const withoutDaemon = ({ extraPorts }: Place): string => `-start_epmd false -erl_epmd_port ${extraPorts[0]}`;

/** Has a server write what it has in its registers so far. An expression of Erlang's. */
export const WRITTEN = "[catch dets:sync(Table) || Table <- dets:all()]";

/**
 * RabbitMQ writes its register of quorum queues, and of the first stream, up to 3 s late, so that a queue younger than that is lost when its
 * server is killed (README.md, Known gaps). Queues of tests are always that young: this server writes the register as it goes along, before
 * anything else where the machine is busy.
 */
const WRITE_REGISTER = `Write = fun(Again) ->
    timer:sleep(20),
    ${WRITTEN},
    Again(Again)
  end,
spawn(fun() -> process_flag(priority, high), Write(Write) end).
`;

/**
 * A starting RabbitMQ asks every module of every application that it knows for boot steps, and so loads all of them; Erlang's own, a third of
 * all, have none. An application that is known before, with no modules, is not asked. What is used of it is loaded as ever.
 */
const KNOW_APPLICATIONS = `Applications = [asn1, compiler, crypto, inets, mnesia, os_mon, public_key, ssl, syntax_tools, tools, xmerl],
Know = fun(Application) ->
    {ok, [Known]} = file:consult(code:where_is_file(atom_to_list(Application) ++ ".app")),
    application:load(setelement(3, Known, lists:keystore(modules, 1, element(3, Known), {modules, []})))
  end,
[catch Know(Application) || Application <- Applications].
`;

function environment(place: Place): Readonly<Record<string, string>> {
  const { conf, data, home } = place;
  const path = process.env["PATH"] ?? "";
  return {
    // Holds the cookie, which only this user may read.
    HOME: conf,
    PATH: home === "/" ? path : `${join(conf, "bin")}:${path}`,
    RABBITMQ_CONF_ENV_FILE: join(conf, "environment"),
    RABBITMQ_CONFIG_FILE: join(conf, "rabbitmq.conf"),
    RABBITMQ_ADVANCED_CONFIG_FILE: join(conf, "advanced.config"),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(conf, "enabled_plugins"),
    RABBITMQ_NODENAME: nodeOf(place),
    RABBITMQ_DIST_PORT: String(place.extraPorts[0]),
    RABBITMQ_MNESIA_BASE: data,
    RABBITMQ_LOG_BASE: join(data, "log"),
    RABBITMQ_PID_FILE: join(data, "pid"),
    // A node that has its name already does not look for a namesake, which would take the daemon.
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: `-sname ${nodeOf(place)} -eval file:eval("${join(conf, "register.erl")}")`,
    // Flags of the environment come before those of the server.
    ERL_AFLAGS: `${withoutDaemon(place)} -eval 'file:eval("${join(conf, "applications.erl")}")' -kernel inet_dist_use_interface {127,0,0,1}`,
    ERL_CRASH_DUMP: "/dev/null",
  };
}

/** rabbitmqctl as a script: it needs the server's cookie, name and port. */
function control(place: Place): string {
  const env = { ...environment(place), ERL_AFLAGS: `${withoutDaemon(place)} -dist_listen false` };
  const settings = Object.entries(env).map(([name, value]) => `export ${name}='${value}'`);
  return `${settings.join("\n")}\nexec '${join(dirname(place.binary), "rabbitmqctl")}' "$@"\n`;
}

/** A connection with the virtual host open, as a client has it: listening begins earlier. */
async function open({ host, port, options }: Endpoint, signal: AbortSignal): Promise<ChannelModel> {
  const { user: username = "guest", password = "guest", tls } = options;
  const protocol = tls === undefined ? "amqp" : "amqps";
  const dialled = connect({ protocol, hostname: host, port, username, password }, { timeout: 2_000, rejectUnauthorized: false });
  const aborted = new Promise<never>((_, reject) => signal.addEventListener("abort", () => reject(signal.reason), { once: true }));
  // A server that is killed fails what waits for it; the client throws what nobody listens to besides.
  const heard = dialled.then((client) => client.on("error", () => {}));
  return Promise.race([heard, aborted]).catch((error: unknown) => {
    heard.then((late) => late.close()).catch(() => {});
    throw error;
  });
}

async function version(at: Endpoint, signal: AbortSignal): Promise<string> {
  const client = await open(at, signal);
  const { version: told } = client.connection.serverProperties;
  await client.close();
  return told;
}

/** A RabbitMQ of our own: one node that no other can find, with data of its own. */
export const recipe: BrokerRecipe = {
  name: "rabbitmq",
  variable: "RABBITMQ_URL",
  port: 5672,
  url: ({ host, port, options: { user, password, tls } }) => {
    const who = user === undefined ? "" : `${user}:${encodeURIComponent(password ?? "")}@`;
    return `${tls === undefined ? "amqp" : "amqps"}://${who}${host}:${port}`;
  },
  ready: async (at, signal) => void (await version(at, signal)),
  version,
  readyMs: 120_000,
  container: {
    image: "rabbitmq:4.1",
    port: 5672,
    environment: ({ options }) => {
      const { user, password, ...more } = options;
      const own = Object.keys(more);
      if (own.length > 0) throw new Error(`RabbitMQ: the options ${own.join(", ")} are for a local process: start it with destructive`);
      return user === undefined ? {} : { RABBITMQ_DEFAULT_USER: user, RABBITMQ_DEFAULT_PASS: password ?? "" };
    },
  },
  process: {
    // The distribution's command on PATH is a wrapper that changes the user and with it the environment; this is what it wraps.
    binaries: ["../lib/rabbitmq/bin/rabbitmq-server"],
    debian: "rabbitmq-server",
    extraPorts: 1,
    files: (place) => ({
      "rabbitmq.conf": configuration(place),
      [DEFINITIONS]: definitions(place.options),
      enabled_plugins: "[].\n",
      environment: "",
      ".erlang.cookie": randomUUID(),
      "register.erl": WRITE_REGISTER,
      "applications.erl": KNOW_APPLICATIONS,
      "control.sh": control(place),
      "bin/erl": launcher(place),
    }),
    prepare: ({ conf, options }) => [
      ["chmod", "0700", join(conf, "bin/erl")],
      ...(options["control"] === undefined ? [] : [["ln", "-s", join(conf, "control.sh"), options["control"]] as const]),
    ],
    args: () => [],
    env: environment,
  },
};
