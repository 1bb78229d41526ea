import type * as client from "@platformatic/kafka";

/** The client library as a value. It is loaded by the first connect, since loading it takes longer than connecting. */
export type Client = typeof client;
export type Connection = InstanceType<Client["Connection"]>;

/**
 * The versions of each request that have one form here, the best first. The server says which of them it knows.
 * https://kafka.apache.org/protocol#protocol_api_keys
 */
export const VERSIONS = {
  Produce: [11, 10, 9],
  Fetch: [17, 16, 15, 14, 13],
  ListOffsets: [9, 8, 7],
  Metadata: [12],
  OffsetCommit: [9, 8],
  OffsetFetch: [9, 8],
  FindCoordinator: [6, 5, 4],
  JoinGroup: [9],
  Heartbeat: [4],
  LeaveGroup: [5],
  SyncGroup: [5],
  ConsumerGroupHeartbeat: [1, 0],
  DescribeGroups: [5],
  ConsumerGroupDescribe: [0],
  ListGroups: [5, 4],
  DeleteGroups: [2],
  OffsetDelete: [0],
  CreateTopics: [7],
  DeleteTopics: [6],
  DescribeConfigs: [4],
  InitProducerId: [5, 4],
} as const;

/** A request in the client's form of its best version, which its others are alike. */
type Form<K> = K extends keyof Client ? Client[K] : never;
export type Requests = { [N in keyof typeof VERSIONS]: Form<`${Uncapitalize<N>}V${(typeof VERSIONS)[N][0]}`> };
export type RequestName = keyof Requests;
export type Args<N extends RequestName> = Requests[N]["api"]["async"] extends (connection: Connection, ...args: infer A) => unknown
  ? A
  : never;
export type Answer<N extends RequestName> = Exclude<Awaited<ReturnType<Requests[N]["api"]["async"]>>, boolean>;

type Body = Parameters<Connection["send"]>[2];
type Parser<R> = Parameters<Connection["send"]>[3] extends (...args: infer A) => unknown ? (...args: A) => R : never;

/** Sends one request under a form's number and version, with a body and a reading of the answer of one's own. */
export function sendAs<R>(
  connection: Connection,
  { key, version }: { readonly key: number; readonly version: number },
  body: Body,
  parse: Parser<R>,
): Promise<R> {
  return new Promise((resolve, reject) => {
    connection.send<R>(key, version, body, parse, true, true, (error, answer) => {
      if (error) reject(error);
      else resolve(answer as R);
    });
  });
}
