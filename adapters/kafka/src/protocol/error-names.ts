import type { Classified, ErrorCode } from "brokerkit/driver";

/**
 * What errors mean to a caller, by name: those that may answer the requests that are sent here. What is not among them is INTERNAL.
 * https://kafka.apache.org/protocol#protocol_error_codes
 */
const MEANINGS: readonly (readonly [code: ErrorCode, retryable: boolean, names: string])[] = [
  // Leaders, coordinators and controllers that are elsewhere now or not there yet, and replicas that are behind.
  [
    "UNAVAILABLE",
    true,
    `LEADER_NOT_AVAILABLE NOT_LEADER_OR_FOLLOWER BROKER_NOT_AVAILABLE REPLICA_NOT_AVAILABLE NETWORK_EXCEPTION
     COORDINATOR_LOAD_IN_PROGRESS COORDINATOR_NOT_AVAILABLE NOT_COORDINATOR NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND
     NOT_CONTROLLER LISTENER_NOT_FOUND KAFKA_STORAGE_ERROR FENCED_LEADER_EPOCH UNKNOWN_LEADER_EPOCH OFFSET_NOT_AVAILABLE
     OFFSET_MOVED_TO_TIERED_STORAGE UNSTABLE_OFFSET_COMMIT CONCURRENT_TRANSACTIONS`,
  ],
  // A topic that was made again under its name, and a record that was damaged on its way.
  ["UNAVAILABLE", true, "UNKNOWN_TOPIC_ID INCONSISTENT_TOPIC_ID CORRUPT_MESSAGE"],
  // A membership that is over: the next one is a new one.
  [
    "UNAVAILABLE",
    true,
    `REBALANCE_IN_PROGRESS ILLEGAL_GENERATION UNKNOWN_MEMBER_ID MEMBER_ID_REQUIRED FENCED_MEMBER_EPOCH STALE_MEMBER_EPOCH
     UNRELEASED_INSTANCE_ID`,
  ],
  // A producer that is over: the next call begins with a new one.
  [
    "UNAVAILABLE",
    true,
    "OUT_OF_ORDER_SEQUENCE_NUMBER UNKNOWN_PRODUCER_ID INVALID_PRODUCER_EPOCH PRODUCER_FENCED INVALID_PRODUCER_ID_MAPPING",
  ],
  ["TIMEOUT", true, "REQUEST_TIMED_OUT"],
  ["QUOTA_EXCEEDED", true, "THROTTLING_QUOTA_EXCEEDED GROUP_MAX_SIZE_REACHED"],
  ["NOT_FOUND", false, "UNKNOWN_TOPIC_OR_PARTITION GROUP_ID_NOT_FOUND"],
  ["TOO_LARGE", false, "MESSAGE_TOO_LARGE RECORD_LIST_TOO_LARGE"],
  ["DATA_LOSS", false, "OFFSET_OUT_OF_RANGE"],
  ["GROUP_ACTIVE", false, "NON_EMPTY_GROUP GROUP_SUBSCRIBED_TO_TOPIC"],
  ["UNAUTHENTICATED", false, "SASL_AUTHENTICATION_FAILED UNSUPPORTED_SASL_MECHANISM ILLEGAL_SASL_STATE"],
  ["FORBIDDEN", false, "TOPIC_AUTHORIZATION_FAILED GROUP_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED"],
  [
    "INVALID_ARGUMENT",
    false,
    `INVALID_TOPIC_EXCEPTION TOPIC_ALREADY_EXISTS INVALID_PARTITIONS INVALID_REPLICATION_FACTOR INVALID_REPLICA_ASSIGNMENT INVALID_CONFIG
     INVALID_GROUP_ID INVALID_SESSION_TIMEOUT INVALID_TIMESTAMP INVALID_RECORD INCONSISTENT_GROUP_PROTOCOL FENCED_INSTANCE_ID
     POLICY_VIOLATION OFFSET_METADATA_TOO_LARGE INVALID_COMMIT_OFFSET_SIZE`,
  ],
  [
    "UNSUPPORTED",
    false,
    "UNSUPPORTED_VERSION UNSUPPORTED_FOR_MESSAGE_FORMAT UNSUPPORTED_COMPRESSION_TYPE UNSUPPORTED_ASSIGNOR TOPIC_DELETION_DISABLED",
  ],
];

/** Names of errors, written one behind the other. */
export function named(names: string): ReadonlySet<string> {
  return new Set(names.trim().split(/\s+/));
}

export const PROTOCOL_ERRORS: ReadonlyMap<string, Classified> = new Map(
  MEANINGS.flatMap(([code, retryable, names]) => [...named(names)].map((name) => [name, { code, retryable }] as const)),
);

const OTHER_MEMBERS =
  'It may have members of another kind. Those of groupProtocol "classic" all share out by "cooperative-sticky": stop the others, or choose another group.';
const SAME_INSTANCE = "Another member has the same instance id: give each process an instanceId of its own.";

/** What to do about errors whose own text does not say it. */
export const ADVICE: ReadonlyMap<string, string> = new Map([
  ["INVALID_TIMESTAMP", "The clock of this machine, or of the server, may be wrong: compare them with message.timestamp.after.max.ms."],
  ["INVALID_RECORD", "A compacted topic takes records with a key only."],
  ["NOT_ENOUGH_REPLICAS", "Fewer replicas are up than min.insync.replicas wants."],
  ["KAFKA_STORAGE_ERROR", "The disk of the server is full or broken."],
  ["INVALID_REPLICATION_FACTOR", "There are fewer servers than that."],
  ["ILLEGAL_SASL_STATE", "The server may ask for no user at all: leave sasl out."],
  ["UNSUPPORTED_SASL_MECHANISM", "The server lets nobody in by this mechanism: see its sasl.enabled.mechanisms."],
  ["INCONSISTENT_GROUP_PROTOCOL", OTHER_MEMBERS],
  ["GROUP_ID_NOT_FOUND", OTHER_MEMBERS],
  ["FENCED_INSTANCE_ID", SAME_INSTANCE],
  ["UNRELEASED_INSTANCE_ID", SAME_INSTANCE],
  ["INVALID_SESSION_TIMEOUT", "Set sessionTimeoutMs within the server's group.min.session.timeout.ms and group.max.session.timeout.ms."],
  ["GROUP_MAX_SIZE_REACHED", "The group has as many members as the cluster allows (group.max.size)."],
]);
