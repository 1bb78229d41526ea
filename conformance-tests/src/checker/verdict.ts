/** A count, and a few of the counted things in words. */
export interface Finding {
  readonly count: number;
  /** At most five. */
  readonly examples: readonly string[];
}

/** Acknowledged to the producer, due in the group, and never received there. */
export interface Lost extends Finding {
  /** Published before the group's first delivered message. */
  readonly prefix: number;
  readonly middle: number;
  /** Published after the group's last delivered message. */
  readonly postfix: number;
  /** What the SDK reported as lost; `unknown`: it also said that it could not count. */
  readonly reported: number;
  readonly unknown: boolean;
}

/** Received, and not what was published: `unknown` ids, and `altered` ones (other hash or other key). */
export interface Phantom extends Finding {
  readonly unknown: number;
  readonly altered: number;
}

/** Received after all, although the publish had ended in doubt (or not at all) or had failed. */
export interface Recovered extends Finding {
  readonly inDoubt: number;
  readonly failed: number;
}

/** Deliveries that nobody asked for. A delivery that follows a failed one is a retry and no duplicate. */
export interface Duplicates extends Finding {
  /** The same message stored twice: another position. */
  readonly stored: number;
  /** The same position again, or a position that is not known. */
  readonly redelivered: number;
  readonly retries: number;
  /** `outstanding` + `inDoubt`. */
  readonly bound: number;
  /** Over all interruptions, the deliveries received and not durably acknowledged when it came. */
  readonly outstanding: number;
  /** Publishes in doubt, or under way during an interruption of the broker. */
  readonly inDoubt: number;
  /** Duplicates of messages that no interruption and no doubt of their own explains. */
  readonly unexplained: Finding;
}

export interface OrderFinding extends Finding {
  readonly judged: number;
  /** Not judged: published twice by the application, or possibly moved from a member that went away. */
  readonly exempt: number;
}

export interface Stall extends Finding {
  /** Longest time without progress while work was outstanding and the broker was there. */
  readonly longestMs: number;
}

/** What was found, in one group or summed over all. `undefined` figures could not be measured. */
export interface Findings {
  /** Handler runs. */
  readonly deliveries: number;
  /** Different messages received. */
  readonly received: number;
  /** Different messages whose handler succeeded. */
  readonly handled: number;
  readonly lost: Lost;
  readonly phantom: Phantom;
  readonly recovered: Recovered;
  readonly duplicates: Duplicates;
  readonly order: OrderFinding;
  /** Acknowledged before the handler was done, or without any delivery. */
  readonly earlyAck: Finding;
  /** Received and never settled by the end: the group went on past it. */
  readonly gap: Finding;
  /** Pairs of handler runs of one key at the same time, where that is excluded. */
  readonly overlap: Finding;
  readonly stall: Stall;
  /** Longest time from the end of an interruption to the next delivery of work that was outstanding; `undefined` without interruptions. */
  readonly recoveryMs: number | undefined;
}

export interface GroupVerdict extends Findings {
  readonly topic: string;
  readonly group: string;
  readonly valid: boolean;
  readonly reasons: readonly string[];
}

export interface Published {
  /** Different messages that a publish was begun for. */
  readonly messages: number;
  readonly acknowledged: number;
  readonly failed: number;
  /** Ended in doubt, or never ended because the producer was killed. */
  readonly inDoubt: number;
  /** Never ended although nothing happened to the producer. */
  readonly hung: Finding;
}

/** The judgement over a whole history. Plain data: `JSON.stringify` is its other form. */
export interface Verdict extends Findings {
  readonly valid: boolean;
  /** Why it is not valid, one sentence each; empty when it is. */
  readonly reasons: readonly string[];
  /** What a reader should know beside it. */
  readonly notes: readonly string[];
  readonly events: number;
  /** From the first to the last event. */
  readonly durationMs: number;
  readonly interruptions: number;
  readonly published: Published;
  /** One position, two messages. */
  readonly diverged: Finding;
  readonly groups: readonly GroupVerdict[];
}
