import { execFileSync } from "node:child_process";
import { createHmac, randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { request as overHttp } from "node:http";
import { request as overHttps } from "node:https";
import { join } from "node:path";
import {
  type BrokerOptions,
  type BrokerRecipe,
  type Command,
  type Endpoint,
  LOG4J,
  mavenArchive,
  type Place,
} from "@brokerkit/conformance/brokers";
import { until } from "@brokerkit/conformance/faults";
import { Administrator } from "./administrator.ts";
import { ARCHIVE, archiveClasses, LINK } from "./class-archive.ts";
import { tokenAuth } from "./src/protocol/auth.ts";

const VERSION = "4.0.6";
const SHA256 = "e20d4c7ed6edad1fc81fc0c249ac62a5dae60b167561bd6ec77944e5a46bbfcc";

/** Who may do everything where tokens are asked for. */
const ADMIN = "admin";
const NAMESPACE = "public/default";
const CHOSEN = ["tls", "secret", "users", "compiler"];

/**
 * A JSON Web Token for a user, as `bin/pulsar tokens create` makes it.
 * @param secret the option of the server's start
 * @param expires epoch s, after which it is refused
 */
export function tokenFor(secret: string, user: string, expires?: number): string {
  const part = (content: unknown): string => Buffer.from(JSON.stringify(content)).toString("base64url");
  const content = `${part({ alg: "HS256" })}.${part({ sub: user, ...(expires === undefined ? {} : { exp: expires }) })}`;
  return `${content}.${createHmac("sha256", keyOf(secret)).update(content).digest("base64url")}`;
}

/** HS256 asks for 32 bytes at least. */
const keyOf = (secret: string): Buffer => createHmac("sha256", "key").update(secret).digest();

/** URL of the admin service, which a URL of the environment may name. */
export function adminOf({ url, host }: Pick<Endpoint, "url" | "host">): string {
  const named = /[?&]adminUrl=([^&]+)/.exec(url)?.[1];
  if (named !== undefined) return decodeURIComponent(named);
  return url.startsWith("pulsar+ssl:") ? `https://${host}:8443` : `http://${host}:8080`;
}

/** The admin service of a server, as its administrator. */
export function administrator(at: Pick<Endpoint, "url" | "host" | "options">): Administrator {
  const { secret, tls } = at.options;
  return new Administrator(adminOf(at), {
    auth: secret === undefined ? undefined : tokenAuth(tokenFor(secret, ADMIN)),
    tls:
      tls === undefined
        ? undefined
        : { ...ownCertificate(tls), ca: readFileSync(join(tls, "ca.pem")), checkServerIdentity: () => undefined },
  });
}

/** What a server may ask everybody for who comes: a client's certificate, where a test has made one. */
function ownCertificate(folder: string): { readonly cert?: Buffer; readonly key?: Buffer } {
  const [cert, key] = [join(folder, "client.pem"), join(folder, "client.key")];
  return existsSync(cert) ? { cert: readFileSync(cert), key: readFileSync(key) } : {};
}

/** One look at the admin service, whoever its certificate says that it is. */
function look(at: Endpoint, path: string, signal: AbortSignal, method = "GET"): Promise<string> {
  const { secret, tls } = at.options;
  const headers = secret === undefined ? {} : { authorization: `Bearer ${tokenFor(secret, ADMIN)}` };
  const url = new URL(path, adminOf(at));
  const asked = { method, headers, signal, agent: false };
  return new Promise((resolve, reject) => {
    const request =
      url.protocol === "http:"
        ? overHttp(url, asked)
        : overHttps(url, { ...asked, ...ownCertificate(tls ?? ""), rejectUnauthorized: false });
    request.on("error", reject);
    request.on("response", (response) => {
      const chunks: Buffer[] = [];
      response.on("error", reject);
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.on("end", () => {
        // Who asks for credentials serves as well.
        if ([200, 204, 401, 403].includes(response.statusCode ?? 0)) resolve(Buffer.concat(chunks).toString());
        else reject(new Error(`the admin service answered ${response.statusCode} for ${path}`));
      });
    });
    request.end();
  });
}

/** Topics can be made in the namespace: the broker answers for it, and knows of a bookie, which may come later than the broker. */
async function ready(at: Endpoint, signal: AbortSignal): Promise<void> {
  const topic = `/admin/v2/persistent/${NAMESPACE}/ready-${randomUUID()}`;
  await look(at, topic, signal, "PUT");
  await look(at, topic, signal, "DELETE");
}

async function version(at: Endpoint, signal: AbortSignal): Promise<string> {
  const told = await look(at, "/admin/v2/brokers/version", signal);
  return /^[\w.-]{1,40}$/.test(told) ? told : "unknown";
}

/** What tests run with; everything else is as conf/standalone.conf has it. */
const COMMON: Readonly<Record<string, string>> = {
  // Acknowledgements of a batch's messages are kept one by one, and stored as they come.
  acknowledgmentAtBatchIndexLevelEnabled: "true",
  managedLedgerCursorPositionFlushSeconds: "1",
  managedLedgerDefaultMarkDeleteRateLimit: "0",
  // Topics keep what is acknowledged for a while, as the adapter would tell each of them to: a policy less for every topic of a test.
  defaultRetentionSizeInMB: "-1",
  defaultRetentionTimeInMinutes: "10080",
  // What is confirmed outlives a power cut as well.
  journalSyncData: "true",
  // There is one bookie: a slow one is better than none.
  bookkeeperClientHealthCheckEnabled: "false",
  // For the plain client, which is the Java client behind a WebSocket.
  webSocketNumIoThreads: "1",
  webSocketServiceEnabled: "true",
  // The bookie's port is the one that it is given.
  allowEphemeralPorts: "true",
  // One small server for one test: few threads, small caches.
  bookkeeperNumberOfChannelsPerBookie: "1",
  dbStorage_readAheadCacheMaxSizeMb: "16",
  dbStorage_rocksDB_blockCacheSize: "8388608",
  dbStorage_writeCacheMaxSizeMb: "32",
  defaultNumberOfNamespaceBundles: "1",
  managedLedgerCacheSizeMB: "64",
  managedLedgerNumSchedulerThreads: "2",
  numCacheExecutorThreadPoolSize: "2",
  numExecutorThreadPoolSize: "2",
  numHttpServerThreads: "8",
  numIOThreads: "2",
  numOrderedExecutorThreads: "2",
  topicOrderedExecutorThreadNum: "2",
};

/** Ports besides the clients': the admin service's, the bookie's, and with TLS those that the server's own parts use without it. */
const EXTRA_PORTS = 4;

function ports({ host, port, extraPorts, options }: Place): Readonly<Record<string, string>> {
  const [web, , innerPort, innerWeb] = extraPorts.map(String) as [string, string, string, string];
  const own = { bindAddress: host, advertisedAddress: host };
  const { tls } = options;
  if (tls === undefined) return { ...own, brokerServicePort: String(port), webServicePort: web };
  return {
    ...own,
    brokerServicePort: innerPort,
    brokerServicePortTls: String(port),
    webServicePort: innerWeb,
    webServicePortTls: web,
    tlsCertificateFilePath: join(tls, "server.pem"),
    tlsKeyFilePath: join(tls, "server.key"),
    tlsTrustCertsFilePath: join(tls, "ca.pem"),
  };
}

/** `user:password` pairs, parted by spaces, as lines of an htpasswd file. */
function passwords(users: string): string {
  const lines = users.split(" ").map((pair) => {
    const [user, password = ""] = pair.split(":");
    return `${user}:${execFileSync("openssl", ["passwd", "-apr1", "-stdin"], { input: password, encoding: "utf8" }).trim()}`;
  });
  return lines.join("\n");
}

function access({ secret, users }: BrokerOptions): Readonly<Record<string, string>> {
  if (secret === undefined) return {};
  const providers = ["Token", ...(users === undefined ? [] : ["Basic"])];
  const data = (content: Buffer | string): string => `data:;base64,${Buffer.from(content).toString("base64")}`;
  return {
    authenticationEnabled: "true",
    authenticationProviders: providers.map((name) => `org.apache.pulsar.broker.authentication.AuthenticationProvider${name}`).join(","),
    authenticationRefreshCheckSeconds: "1",
    authorizationEnabled: "true",
    superUserRoles: ADMIN,
    tokenSecretKey: data(keyOf(secret)),
    ...(users === undefined ? {} : { basicAuthConf: data(passwords(users)) }),
    brokerClientAuthenticationPlugin: "org.apache.pulsar.client.impl.auth.AuthenticationToken",
    brokerClientAuthenticationParameters: `token:${tokenFor(secret, ADMIN)}`,
  };
}

/**
 * A start is changed by
 * - `tls`: a folder with ca.pem, server.pem and server.key, for listeners with TLS only; client.pem and client.key, where they are there, are
 *   what the tests themselves come with;
 * - `secret`: tokens are asked for that `tokenFor` makes of it; `admin` may do everything, the others need permissions;
 * - `users`: `user:password` pairs parted by spaces, who are let in as well; needs `secret`;
 * - `compiler`: "full" lets the virtual machine compile as well as it can, for figures; else it starts sooner;
 * - any other name: a setting of conf/standalone.conf or conf/broker.conf.
 */
function chosen(options: BrokerOptions): Readonly<Record<string, string>> {
  if (options["users"] !== undefined && options["secret"] === undefined) throw new Error('Pulsar: the option "users" needs "secret"');
  const settings = Object.entries(options).filter(([name]) => !CHOSEN.includes(name));
  for (const [name] of settings) {
    if (!/^[a-z]\w{5,}$/.test(name))
      throw new Error(`Pulsar: there is no option "${name}" for tests; known: ${CHOSEN.join(", ")}, and settings of the server`);
  }
  return Object.fromEntries(settings);
}

/** The distribution's own configuration for one server, changed. */
function configuration(place: Place): string {
  const changed = { ...COMMON, ...ports(place), ...access(place.options), ...chosen(place.options) };
  const lines = readFileSync(join(place.library, "conf", "standalone.conf"), "utf8").split("\n");
  const kept = lines.filter((line) => /^\w+=/.test(line) && !Object.hasOwn(changed, line.slice(0, line.indexOf("="))));
  const own = Object.entries(changed).map(([name, value]) => `${name}=${value}`);
  return `${[...kept, ...own].join("\n")}\n`;
}

/** What every program of the distribution runs with. Bookie and clients keep what they know of each other in Pulsar's own metadata store. */
const machine = ({ conf }: Place): readonly string[] => [
  "-XX:+UseSerialGC",
  `-Dlog4j2.configurationFile=${join(conf, "log4j2.properties")}`,
  "-Dbookkeeper.metadata.bookie.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataBookieDriver",
  "-Dbookkeeper.metadata.client.drivers=org.apache.pulsar.metadata.bookkeeper.PulsarMetadataClientDriver",
  ...["-cp", join(LINK, "lib", "*")],
];

const SOON = "-XX:TieredStopAtLevel=1";
const archived = ({ library }: Place): string => `-XX:SharedArchiveFile=${join(library, ARCHIVE)}`;

const OPENED = ["java.io", "java.nio", "java.util.zip", "jdk.internal.misc", "jdk.internal.platform"];

/** As bin/pulsar starts it, but small and soon. */
function args(place: Place): readonly string[] {
  const { conf, data, extraPorts, options } = place;
  return [
    "-Xms128m",
    "-Xmx768m",
    "-XX:MaxDirectMemorySize=512m",
    ...(options["compiler"] === "full" ? [] : [SOON]),
    "-Djava.net.preferIPv4Stack=true",
    "-Dio.netty.tryReflectionSetAccessible=true",
    "-Dlog4j2.is.webapp=false",
    ...OPENED.flatMap((name) => ["--add-opens", `java.base/${name}=ALL-UNNAMED`]),
    ...["--add-opens", "java.management/sun.management=ALL-UNNAMED"],
    ...["--add-opens", "jdk.management/com.sun.management.internal=ALL-UNNAMED"],
    ...machine(place),
    "org.apache.pulsar.PulsarStandaloneStarter",
    "--no-functions-worker",
    "--no-stream-storage",
    ...["--config", join(conf, "standalone.conf")],
    ...["--metadata-dir", join(data, "metadata")],
    ...["--bookkeeper-dir", join(data, "bookkeeper"), "--bookkeeper-port", String(extraPorts[1])],
  ];
}

/**
 * A bookie that is killed leaves its registration in the metadata store. The next one finds it, has it removed and registers again; where it
 * hears of the removal only then, it takes its new registration for lost, removes it and registers again, and hears of that too, without end.
 * One start in three does, and then a topic can be made now and not in a moment: "Not enough non-faulty bookies available". To list the
 * bookies removes registrations of servers that are gone.
 */
const repair = (place: Place): Command => [
  place.binary,
  ...[archived(place), "-Xmx128m", SOON],
  ...machine(place),
  "org.apache.bookkeeper.bookie.BookieShell",
  ...["-conf", join(place.conf, "bookkeeper.conf"), "listbookies", "-rw"],
];

const files = (place: Place): Readonly<Record<string, string>> => ({
  "standalone.conf": configuration(place),
  "bookkeeper.conf": `metadataServiceUri=metadata-store:rocksdb://${join(place.data, "metadata")}\n`,
  "log4j2.properties": LOG4J,
});

function urlOf({ host, port, extraPorts: [web], options }: Parameters<BrokerRecipe["url"]>[0]): string {
  const [scheme, service] = options["tls"] === undefined ? ["pulsar", "http"] : ["pulsar+ssl", "https"];
  return `${scheme}://${host}:${port}/${NAMESPACE}${web === undefined ? "" : `?adminUrl=${service}://${host}:${web}`}`;
}

/** A Pulsar of our own: broker, bookie and metadata in one process. */
export const recipe: BrokerRecipe = {
  name: "pulsar",
  variable: "PULSAR_URL",
  port: 6650,
  url: urlOf,
  ready,
  version,
  readyMs: 120_000,
  process: {
    binaries: ["java"],
    debian: "default-jre-headless",
    library: {
      name: `pulsar-${VERSION}`,
      async fill(folder, program) {
        await mavenArchive(`org.apache.pulsar:pulsar-server-distribution:${VERSION}:tar.gz:bin`, SHA256, folder);
        const started = async (place: Place): Promise<void> => {
          const at = { ...place, url: urlOf(place) };
          await until(() => ready(at, AbortSignal.timeout(2_000)).then(() => true), { timeoutMs: 120_000, everyMs: 100, what: "Pulsar" });
        };
        await archiveClasses(folder, program, { ports: EXTRA_PORTS, files, args, started });
      },
    },
    extraPorts: EXTRA_PORTS,
    files,
    prepare: ({ library, conf }) => [["ln", "-s", library, join(conf, "..", LINK)]],
    repair: (place) => [repair(place)],
    args: (place) => [archived(place), ...args(place)],
  },
};
