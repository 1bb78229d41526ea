import type { Cluster } from "./cluster.ts";
import type { Line } from "./line.ts";
import { type Args, type Connection, sendAs } from "./requests.ts";

/** Offsets stay far below 2^53, and numbers are four times as fast as big integers. */
export interface FetchedPartition {
  readonly topicId: string;
  readonly partition: number;
  readonly errorCode: number;
  /** Where the log ends for readers of everything, and for readers of what is committed. */
  readonly highWatermark: number;
  readonly stableOffset: number;
  /** Where the leader's log parts from what was read so far (KIP-320); −1: nowhere. */
  readonly divergesAt: number;
  /** Transactions that were given up, by the producer and the offset from which on its records are void. */
  readonly aborted: readonly { readonly producerId: number; readonly from: number }[];
  readonly records: Buffer;
}

type Reader = Parameters<Parameters<Connection["send"]>[3]>[3];

/**
 * Sends one Fetch, encoded by the client, and reads the answer without touching the records: the client's own parser takes all of them
 * apart at once, and throws the whole answer away when one partition has an error.
 */
export function fetchFrom(
  cluster: Cluster,
  line: Line,
  node: number,
  args: Args<"Fetch">,
  signal: AbortSignal,
): Promise<FetchedPartition[]> {
  const { ProtocolError, readKnownTaggedFields } = cluster.client;
  const parse = (_id: number, _key: number, _version: number, reader: Reader): FetchedPartition[] => {
    reader.readInt32();
    const errorCode = reader.readInt16();
    if (errorCode !== 0) throw new ProtocolError(errorCode);
    reader.readInt32();
    return reader
      .readArray((topic) => {
        const topicId = topic.readUUID();
        return topic.readArray(
          (one) => {
            const head = {
              topicId,
              partition: one.readInt32(),
              errorCode: one.readInt16(),
              highWatermark: Number(one.readInt64()),
              stableOffset: Number(one.readInt64()),
            };
            one.readInt64();
            const aborted = one.readArray((pair) => ({ producerId: Number(pair.readInt64()), from: Number(pair.readInt64()) }));
            one.readInt32();
            const length = Math.max(0, one.readUnsignedVarInt() - 1);
            // A buffer for each partition: one that waits keeps no other's records in memory.
            const records = one.buffer.slice(one.position, one.position + length);
            one.skip(length);
            let divergesAt = -1;
            readKnownTaggedFields(one, {
              0: (diverging) => {
                diverging.readInt32();
                divergesAt = Number(diverging.readInt64());
              },
            });
            return { ...head, divergesAt, aborted, records };
          },
          true,
          false,
        );
      })
      .flat();
  };
  const form = cluster.form("Fetch");
  const send = (connection: Connection, ...rest: Args<"Fetch">): Promise<FetchedPartition[]> =>
    sendAs(connection, form.api, () => form.createRequest(...rest), parse);
  return line.call(node, send, args, signal);
}
