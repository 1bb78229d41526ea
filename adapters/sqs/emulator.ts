/**
 * Serves SQS and SNS by fauxqs at a port, until it is killed. Its one argument is JSON:
 * `port`; `data`, a folder that outlives it (without one everything is in memory); `tls`, where there is to be a certificate:
 * `{ folder, plain }`, the folder with server.pem and server.key, and the port at which fauxqs itself listens then.
 */
import { readFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { connect } from "node:net";
import { join } from "node:path";
import { pipeline } from "node:stream";
import { createServer } from "node:tls";

interface Given {
  readonly port: number;
  readonly data?: string;
  readonly tls?: { readonly folder: string; readonly plain: number };
}

const { port, data, tls } = JSON.parse(process.argv[2] ?? "") as Given;

const LOCKED = "this.fifoLockedGroups.set(groupId, (this.fifoLockedGroups.get(groupId) ?? 0) + 1);";

/** What is repaired in fauxqs 2.4.1, by the end of the file's name; each text must be there. */
const REPAIRS: readonly (readonly [file: string, text: string, by: string])[] = [
  // Tests kill this process, never the machine: what the system has is safe, and not waiting for the disk at every message is twice as fast.
  ["persistence.js", "PRAGMA journal_mode = WAL", "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF"],
  // Making a message visible again wrote NULL into a column that may not be NULL, after it had been taken out: it was gone.
  ["persistence.js", "approximate_receive_count = ?,", "approximate_receive_count = COALESCE(?, approximate_receive_count),"],
  // AWS counts the bytes of a binary attribute, not their base64.
  ["sns/actions/publish.js", 'Buffer.byteLength(attr.BinaryValue, "utf8")', 'Buffer.byteLength(attr.BinaryValue, "base64")'],
  ["sqs/sqsTypes.js", 'Buffer.byteLength(attr.BinaryValue, "utf8")', 'Buffer.byteLength(attr.BinaryValue, "base64")'],
  // Of one message group several come in one receive, as many as fit:
  // https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
  ["sqs/sqsStore.js", `${LOCKED}\n                break;`, LOCKED],
  // What several of a group come back as, singly or after a restart, is their order.
  [
    "sqs/sqsStore.js",
    "group.unshift(entry.message);",
    "group.unshift(entry.message); group.sort((a, b) => (a.sequenceNumber < b.sequenceNumber ? -1 : 1));",
  ],
  [
    "persistence.js",
    "SELECT * FROM sqs_messages WHERE queue_name = ?",
    "SELECT * FROM sqs_messages WHERE queue_name = ? ORDER BY sequence_number, rowid",
  ],
];

registerHooks({
  load(url, context, next) {
    const loaded = next(url, context);
    const repairs = REPAIRS.filter(([file]) => url.endsWith(`/fauxqs/dist/${file}`));
    if (repairs.length === 0) return loaded;
    let source = String(loaded.source);
    for (const [file, text, by] of repairs) {
      if (!source.includes(text)) throw new Error(`fauxqs: ${file} does not hold "${text}" any more`);
      source = source.replaceAll(text, by);
    }
    return { ...loaded, source };
  },
});

const { startFauxqs } = await import("fauxqs");
await startFauxqs({ port: tls?.plain ?? port, host: "localhost", logger: false, ...(data === undefined ? {} : { dataDir: data }) });

if (tls !== undefined) {
  const file = (name: string): Buffer => readFileSync(join(tls.folder, name));
  // Ends what is encrypted; what comes out of it goes on as it is.
  const end = createServer({ cert: file("server.pem"), key: file("server.key") }, (socket) => {
    const inner = connect({ host: "127.0.0.1", port: tls.plain });
    pipeline(socket, inner, () => {});
    pipeline(inner, socket, () => {});
  });
  end.listen(port, "127.0.0.1");
}
