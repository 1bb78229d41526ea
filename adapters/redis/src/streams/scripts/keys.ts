/** A stream that a group reads, and where what was given back waits: ids by due time, and what is known of them. */
export interface LaneKeys {
  readonly stream: string;
  readonly delayed: string;
  readonly due: string;
  readonly notes: string;
}

/** All keys of a group. Scripts take them in the order of `list`. */
export interface GroupKeys {
  readonly meta: string;
  readonly main: LaneKeys;
  readonly inbox: LaneKeys;
  /** A member that waits is woken by it when something falls due earlier than it thought. */
  readonly wake: string;
  readonly list: readonly string[];
  /** There while this consumer owns the topic alone. */
  guard(consumer: string): string;
}

/** All keys of a topic. Names of topics and groups hold no colon, so nothing of one can be taken for something of another. */
export class TopicKeys {
  readonly stream: string;
  readonly meta: string;
  readonly delayed: string;
  /** As a group's, for readers without a group. */
  readonly wake: string;
  readonly list: readonly string[];

  constructor(prefix: string, topic: string) {
    this.stream = prefix + topic;
    this.meta = `${this.stream}:meta`;
    this.delayed = `${this.stream}:delayed`;
    this.wake = `${this.stream}:wake`;
    this.list = [this.stream, this.meta, this.delayed, this.wake];
  }

  group(group: string): GroupKeys {
    const [main, inbox] = [laneOf(this.stream, group), laneOf(`${this.stream}.${group}.retry`, group)];
    const wake = `${this.stream}:${group}:wake`;
    const list = [this.meta, ...Object.values(main), ...Object.values(inbox), wake] as string[];
    return { meta: this.meta, main, inbox, wake, list, guard: (consumer) => `${wake}:${consumer}` };
  }
}

function laneOf(stream: string, group: string): LaneKeys {
  return { stream, delayed: `${stream}:delayed`, due: `${stream}:${group}:due`, notes: `${stream}:${group}:notes` };
}
