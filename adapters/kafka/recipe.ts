import { readFileSync } from "node:fs";
import { connect as connectTcp } from "node:net";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { type BrokerOptions, type BrokerRecipe, type Endpoint, LOG4J, mavenJars, type Place } from "@brokerkit/conformance/brokers";

const VERSION = "4.1.0";
const LOCK = new URL("kafka-jars.json", import.meta.url);

/** All nodes that are to find each other must have the same; where nobody else can join, any will do. */
const CLUSTER_ID = "YnJva2Vya2l0LXRlc3RzMQ";

/** Sends one request over a bare socket and resolves to the body of the answer, behind its correlation id. */
function ask({ host, port, options }: Endpoint, key: number, version: number, body: Buffer, signal: AbortSignal): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = options["tls"] === undefined ? connectTcp({ host, port }) : connectTls({ host, port, rejectUnauthorized: false });
    const give = (act: () => void): void => {
      signal.removeEventListener("abort", abort);
      socket.destroy();
      act();
    };
    const abort = (): void => give(() => reject(signal.reason));
    signal.addEventListener("abort", abort, { once: true });
    let answer = Buffer.alloc(0);
    socket.on("error", (error) => give(() => reject(error)));
    socket.on("close", () => give(() => reject(new Error("the server closed the connection"))));
    socket.on("data", (data: Buffer) => {
      answer = Buffer.concat([answer, data]);
      if (answer.length >= 4 && answer.length >= 4 + answer.readInt32BE(0)) give(() => resolve(answer.subarray(8)));
    });
    const header = Buffer.alloc(15);
    header.writeInt32BE(11 + body.length, 0);
    header.writeInt16BE(key, 4);
    header.writeInt16BE(version, 6);
    // Correlation id 0, no client id, no tagged fields: https://kafka.apache.org/protocol#protocol_messages
    header.writeInt16BE(-1, 12);
    socket.write(Buffer.concat([header, body]));
  });
}

/** Reads Kafka's compact encodings: https://kafka.apache.org/protocol#protocol_types */
class Fields {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  int16(): number {
    this.#at += 2;
    return this.#bytes.readInt16BE(this.#at - 2);
  }

  varint(): number {
    for (let [value, shift] = [0, 0]; ; shift += 7) {
      const byte = this.#bytes.readUInt8(this.#at++);
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  }

  bytes(count: number): Buffer {
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  /** A compact array's or string's length. */
  size(): number {
    return this.varint() - 1;
  }
}

const API_VERSIONS = 18;
const DESCRIBE_CLUSTER = 60;

/** The highest "metadata.version" that the server supports: its release in all but the last digit. */
async function metadataLevel(at: Endpoint, signal: AbortSignal): Promise<number> {
  const name = Buffer.from("brokerkit");
  const fields = new Fields(await ask(at, API_VERSIONS, 3, Buffer.from([name.length + 1, ...name, 2, 0x30, 0]), signal));
  const code = fields.int16();
  if (code !== 0) throw new Error(`Kafka answered ApiVersions with the error ${code}`);
  for (let apis = fields.size(); apis > 0; apis--) {
    fields.bytes(6);
    fields.varint();
  }
  fields.bytes(4);
  for (let tags = fields.varint(); tags > 0; tags--) {
    const tag = fields.varint();
    const content = new Fields(fields.bytes(fields.varint()));
    if (tag !== 0) continue;
    for (let features = content.size(); features > 0; features--) {
      const feature = content.bytes(content.size()).toString();
      content.int16();
      const max = content.int16();
      content.varint();
      if (feature === "metadata.version") return max;
    }
  }
  throw new Error("Kafka did not say which metadata version it supports");
}

/** First level of each release: https://github.com/apache/kafka/blob/trunk/server-common/src/main/java/org/apache/kafka/server/common/MetadataVersion.java */
const RELEASES: readonly (readonly [level: number, release: string])[] = [
  [28, "4.2 or newer"],
  [26, "4.1"],
  [22, "4.0"],
  [21, "3.9"],
  [20, "3.8"],
  [15, "3.7"],
  [12, "3.6"],
  [9, "3.5"],
];

/** Rejects until the controller counts the server in, which is later than that it answers. */
async function ready(at: Endpoint, signal: AbortSignal): Promise<void> {
  await metadataLevel(at, signal);
  // Nothing more is answered before a user has said who they are.
  if (at.options["sasl"] !== undefined) return;
  const answer = await ask(at, DESCRIBE_CLUSTER, 0, Buffer.from([0, 0]), signal);
  const fields = new Fields(answer);
  fields.bytes(5);
  const code = fields.int16();
  if (code !== 0) throw new Error(`Kafka answered DescribeCluster with the error ${code}`);
  fields.bytes(Math.max(0, fields.size()));
  fields.bytes(fields.size());
  fields.bytes(4);
  if (fields.size() < 1) throw new Error("Kafka has not joined its own cluster yet");
}

const MECHANISMS = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] as const;

/** `user:password` pairs, parted by spaces. */
function users(options: BrokerOptions): readonly (readonly [user: string, password: string])[] {
  return (options["sasl"] ?? "").split(" ").flatMap((pair) => {
    const [user, password] = pair.split(":");
    return user === undefined || password === undefined ? [] : [[user, password] as const];
  });
}

/** Small topics of the server's own, no waiting for members, and intervals and lower bounds of time-outs that let tests be quick. */
const COMMON: Readonly<Record<string, string>> = {
  "auto.create.topics.enable": "false",
  "broker.heartbeat.interval.ms": "250",
  // A node that was killed is let in again when its last session is over.
  "broker.session.timeout.ms": "2000",
  "default.replication.factor": "1",
  "group.consumer.heartbeat.interval.ms": "300",
  "group.consumer.min.heartbeat.interval.ms": "100",
  "group.consumer.min.session.timeout.ms": "500",
  "group.consumer.session.timeout.ms": "1500",
  "group.initial.rebalance.delay.ms": "0",
  "group.min.session.timeout.ms": "500",
  // The first look at what retention takes is half a minute after the start else.
  "log.initial.task.delay.ms": "300",
  "log.retention.check.interval.ms": "300",
  "num.partitions": "3",
  "offsets.topic.num.partitions": "2",
  "offsets.topic.replication.factor": "1",
  "share.coordinator.state.topic.num.partitions": "1",
  "share.coordinator.state.topic.replication.factor": "1",
  "share.coordinator.state.topic.min.isr": "1",
  "transaction.state.log.min.isr": "1",
  "transaction.state.log.num.partitions": "1",
  "transaction.state.log.replication.factor": "1",
};

const CHOSEN = ["tls", "sasl", "acl", "node", "controller"];

/**
 * A start is changed by
 * - `tls`: a folder with ca.pem, server.pem and server.key;
 * - `sasl`: `user:password` pairs parted by spaces, known to PLAIN and SCRAM;
 * - `acl`: users who may do everything, parted by spaces; the others need rules;
 * - `node`, `controller`: number of the node, and `host:port` of the controller that node 1 of the cluster runs;
 * - any name with a dot: a property of the server.
 */
function chosen(options: BrokerOptions): Readonly<Record<string, string>> {
  const properties: Record<string, string> = {};
  for (const [name, value] of Object.entries(options)) {
    if (name.includes(".")) properties[name] = value;
    else if (!CHOSEN.includes(name)) {
      throw new Error(`Kafka: there is no option "${name}" for tests; known: ${CHOSEN.join(", ")}, and properties of the server`);
    }
  }
  return properties;
}

function security(options: BrokerOptions): Readonly<Record<string, string>> {
  const { tls, acl } = options;
  const named = users(options);
  const protocol = `${named.length === 0 ? "" : "SASL_"}${tls === undefined ? "PLAINTEXT" : "SSL"}`;
  const found: Record<string, string> = {
    "listener.security.protocol.map": `CLIENT:${protocol},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
  };
  if (tls !== undefined) {
    found["ssl.keystore.type"] = "PEM";
    found["ssl.keystore.certificate.chain"] = onLine(join(tls, "server.pem"));
    found["ssl.keystore.key"] = onLine(join(tls, "server.key"));
    found["ssl.truststore.type"] = "PEM";
    found["ssl.truststore.certificates"] = onLine(join(tls, "ca.pem"));
  }
  if (named.length > 0) {
    const known = named.map(([user, password]) => `user_${user}="${password}"`).join(" ");
    const module = "org.apache.kafka.common.security";
    found["sasl.enabled.mechanisms"] = MECHANISMS.join(",");
    found["listener.name.client.plain.sasl.jaas.config"] = `${module}.plain.PlainLoginModule required ${known};`;
    for (const mechanism of MECHANISMS.slice(1)) {
      found[`listener.name.client.${mechanism.toLowerCase()}.sasl.jaas.config`] = `${module}.scram.ScramLoginModule required;`;
    }
  }
  if (acl !== undefined) {
    found["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer";
    // Connections between nodes and to the controller have no user.
    found["super.users"] = ["ANONYMOUS", ...acl.split(" ")].map((user) => `User:${user}`).join(";");
  }
  return found;
}

/** A PEM file as one line of a properties file. */
function onLine(path: string): string {
  return readFileSync(path, "utf8").trim().replaceAll("\n", "\\n");
}

function properties({ host, port, extraPorts, data, options }: Place): string {
  const [internal, controller] = extraPorts;
  const node = options["node"] ?? "1";
  const voter = options["controller"] ?? `${host}:${controller}`;
  const leads = node === "1";
  const own = `CLIENT://${host}:${port},INTERNAL://${host}:${internal}`;
  const all: Record<string, string> = {
    ...COMMON,
    "process.roles": leads ? "broker,controller" : "broker",
    "node.id": node,
    "controller.quorum.voters": `1@${voter}`,
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "INTERNAL",
    listeners: leads ? `${own},CONTROLLER://${voter}` : own,
    "advertised.listeners": own,
    "log.dirs": data,
    ...security(options),
    ...chosen(options),
  };
  return Object.entries(all)
    .map(([name, value]) => `${name}=${value}\n`)
    .join("");
}

function java({ library, conf }: Place): readonly string[] {
  return [
    "-Xmx512m",
    "-XX:TieredStopAtLevel=1",
    "-XX:+UseSerialGC",
    `-Dlog4j2.configurationFile=${join(conf, "log4j2.properties")}`,
    "-cp",
    join(library, "*"),
  ];
}

/** A Kafka of our own: one node that is its own controller (KRaft), or a node of several. */
export const recipe: BrokerRecipe = {
  name: "kafka",
  variable: "KAFKA_URL",
  port: 9092,
  url: ({ host, port, options }) => `${options["tls"] === undefined ? "kafka" : "kafkas"}://${host}:${port}`,
  ready,
  version: async (at, signal) => {
    const level = await metadataLevel(at, signal);
    return RELEASES.find(([first]) => level >= first)?.[1] ?? `older than 3.5 (metadata version ${level})`;
  },
  readyMs: 120_000,
  container: {
    image: `apache/kafka:${VERSION}`,
    port: 9092,
    environment: ({ host, port, options }) => {
      const own = CHOSEN.filter((name) => options[name] !== undefined);
      if (own.length > 0) throw new Error(`Kafka: the options ${own.join(", ")} are for a local process: start it with destructive`);
      const all: Record<string, string> = {
        ...COMMON,
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": "1@localhost:9093",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listener.security.protocol.map": "CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT",
        listeners: "CLIENT://:9092,INTERNAL://localhost:9094,CONTROLLER://localhost:9093",
        "advertised.listeners": `CLIENT://${host}:${port},INTERNAL://localhost:9094`,
        ...chosen(options),
      };
      return Object.fromEntries(Object.entries(all).map(([name, value]) => [`KAFKA_${name.toUpperCase().replaceAll(".", "_")}`, value]));
    },
  },
  process: {
    binaries: ["java"],
    debian: "default-jre-headless",
    library: {
      name: `kafka-${VERSION}`,
      fill: (folder) => mavenJars(JSON.parse(readFileSync(LOCK, "utf8")) as Record<string, string>, folder),
    },
    extraPorts: 2,
    files: (place) => ({ "server.properties": properties(place), "log4j2.properties": LOG4J }),
    prepare: (place) => {
      const scram = users(place.options).flatMap(([user, password]) =>
        MECHANISMS.slice(1).flatMap((mechanism) => ["--add-scram", `${mechanism}=[name=${user},password=${password}]`]),
      );
      const format = ["kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", join(place.conf, "server.properties"), ...scram];
      return [[place.binary, ...java(place), ...format]];
    },
    args: (place) => [...java(place), "kafka.Kafka", join(place.conf, "server.properties")],
  },
};
