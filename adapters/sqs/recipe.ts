import { readFileSync } from "node:fs";
import { request as overHttp } from "node:http";
import { request as overHttps } from "node:https";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrokerOptions, type BrokerRecipe, type Endpoint, mavenJars, type Place } from "@brokerkit/conformance/brokers";

interface Manifest {
  readonly devDependencies: { readonly fauxqs: string };
}

/** Exact, as the manifest names it. */
const FAUXQS = (JSON.parse(readFileSync(new URL("package.json", import.meta.url), "utf8")) as Manifest).devDependencies.fauxqs;
const ELASTICMQ = "1.6.14";
const LOCK = new URL("elasticmq-jars.json", import.meta.url);
const EMULATOR = fileURLToPath(new URL("emulator.ts", import.meta.url));

/** Whether it is Amazon's own, given by its host name in the environment. */
export const isAws = ({ host }: Pick<Endpoint, "host">): boolean => host.endsWith(".amazonaws.com");

/** The emulators speak for any account and region; these are what the tests' programs and clients use. */
export const REGION = "us-east-1";

/** Asks for the queues as any client of SQS may, and resolves to the headers of the answer. */
function ask({ url, host, port }: Endpoint, signal: AbortSignal): Promise<Readonly<Record<string, string | string[] | undefined>>> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.ListQueues" };
    const at = { host, port, method: "POST", headers, signal, agent: false };
    const request = url.includes("+http:") ? overHttp(at) : overHttps({ ...at, rejectUnauthorized: false });
    request.on("error", reject);
    request.on("response", (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => {
        // Who asks for credentials serves as well.
        const { statusCode = 0 } = response;
        if (statusCode < 500) resolve(response.headers);
        else reject(new Error(`ListQueues was answered with ${statusCode}`));
      });
    });
    request.end('{"MaxResults":1}');
  });
}

function versionOf(server: string): BrokerRecipe["version"] {
  return async (at, signal) => {
    const headers = await ask(at, signal);
    if (isAws(at)) return "AWS";
    // fauxqs tells its name and not its version, which is that of the package here.
    if (headers["x-amz-id-2"] === "fauxqs") return `fauxqs ${FAUXQS}`;
    const name = String(headers["server"] ?? "");
    return name.startsWith(server) ? name.replace("/", " ") : "unknown";
  };
}

function only(broker: string, known: readonly string[], options: BrokerOptions): void {
  for (const name of Object.keys(options)) {
    if (!known.includes(name)) throw new Error(`${broker}: there is no option "${name}" for tests; known: ${known.join(", ")}`);
  }
}

/** `tls`: a folder with server.pem and server.key; `data: "memory"`: nothing outlives it. */
function emulator({ port, extraPorts, data, options }: Place): string {
  only("fauxqs", ["tls", "data"], options);
  const folder = options["tls"];
  return JSON.stringify({
    port,
    ...(options["data"] === "memory" ? {} : { data }),
    ...(folder === undefined ? {} : { tls: { folder, plain: extraPorts[0] } }),
  });
}

/** SQS and SNS of our own: fauxqs in a process of its own, everything on disk before it is answered. */
export const fauxqs: BrokerRecipe = {
  name: "sqs",
  variable: "SQS_URL",
  port: 4566,
  url: ({ host, port, options }) => `${options["tls"] === undefined ? "sqs+http" : "sqs"}://${host}:${port}?region=${REGION}`,
  ready: async (at, signal) => void (await ask(at, signal)),
  version: versionOf("fauxqs"),
  readyMs: 20_000,
  container: { image: `kibertoad/fauxqs:${FAUXQS}`, port: 4566, environment: () => ({ FAUXQS_LOGGER: "false" }) },
  process: {
    // The Node that runs this one: fauxqs needs 22.
    binaries: [process.execPath],
    extraPorts: 1,
    args: (place) => ["--disable-warning=ExperimentalWarning", EMULATOR, emulator(place)],
  },
};

/** A configuration file: https://github.com/softwaremill/elasticmq#installation-stand-alone */
function configuration({ host, port, data, options }: Place): string {
  only("ElasticMQ", ["data"], options);
  const lines = [
    'include classpath("application.conf")',
    `node-address { protocol = http, host = ${JSON.stringify(host)}, port = ${port}, context-path = "" }`,
    `rest-sqs { enabled = true, bind-port = ${port}, bind-hostname = ${JSON.stringify(host)}, sqs-limits = strict }`,
    "rest-stats { enabled = false }",
    `aws { region = ${JSON.stringify(REGION)}, accountId = "000000000000" }`,
    // It tells no version by itself.
    `pekko.http.server.server-header = "ElasticMQ/${ELASTICMQ}"`,
  ];
  if (options["data"] !== "memory") {
    // Without the delay, what is confirmed outlives a kill.
    const uri = `jdbc:h2:${join(data, "messages")};WRITE_DELAY=0`;
    lines.push(
      `messages-storage { enabled = true, driver-class-name = "org.h2.Driver", uri = ${JSON.stringify(uri)}, username = "", password = "" }`,
    );
  }
  return `${lines.join("\n")}\n`;
}

const LOGGING = `<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{20} %msg%n</pattern></encoder></appender>
  <root level="WARN"><appender-ref ref="out"/></root>
</configuration>
`;

/** SQS without SNS, by ElasticMQ: it alone moves messages from one queue to another by itself. */
export const elasticmq: BrokerRecipe = {
  name: "elasticmq",
  variable: "ELASTICMQ_URL",
  port: 9324,
  url: ({ host, port }) => `sqs+http://${host}:${port}?region=${REGION}&fanout=false`,
  ready: async (at, signal) => void (await ask(at, signal)),
  version: versionOf("ElasticMQ"),
  readyMs: 120_000,
  container: { image: `softwaremill/elasticmq:${ELASTICMQ}`, port: 9324 },
  process: {
    binaries: ["java"],
    debian: "default-jre-headless",
    library: {
      name: `elasticmq-${ELASTICMQ}`,
      fill: (folder) => mavenJars(JSON.parse(readFileSync(LOCK, "utf8")) as Record<string, string>, folder),
    },
    files: (place) => ({ "elasticmq.conf": configuration(place), "logback.xml": LOGGING }),
    args: ({ conf, library }) => [
      "-Xmx512m",
      "-XX:TieredStopAtLevel=1",
      "-XX:+UseSerialGC",
      `-Dconfig.file=${join(conf, "elasticmq.conf")}`,
      `-Dlogback.configurationFile=${join(conf, "logback.xml")}`,
      "-cp",
      join(library, "*"),
      "org.elasticmq.server.Main",
    ],
  },
};
