import { setImmediate } from "node:timers/promises";
import { type Nack, type SettleResult, type Shard, type SubscribeRequest, type Subscription, type WireDelivery } from "brokerkit/driver";
import { type Client, Listener } from "./client.ts";
import { noGroup, unavailable } from "./errors.ts";
import { type Handed, INBOX_SHARD, placeOf, TOPIC_SHARD } from "./mapping.ts";
import { later } from "./publisher.ts";
import { promote } from "./scripts/append.ts";
import { acknowledge, claim, extendLease, giveBack, type Member, releaseAll, unpark } from "./scripts/claim.ts";

/** What a group's reader needs to know before it looks for messages. `next` is the least front, `delay` when a delayed one is due. */
interface State {
  readonly epoch: number;
  readonly last: number;
  readonly floor: number;
  readonly lanes: number;
  readonly next: number;
  readonly delay: number | null;
  readonly loss: number;
}

const STATE = `SELECT g.epoch, l.last, l.floor, l.lanes, (SELECT min(next) FROM fronts WHERE grp = g.id) AS next,
  nullif(min(ifnull((SELECT min(due) FROM delayed WHERE log = g.log), 9e15), ifnull((SELECT min(due) FROM delayed WHERE log = g.inbox), 9e15)), 9e15)
  AS delay, EXISTS (SELECT 1 FROM losses WHERE grp = g.id) AS loss FROM groups g JOIN logs l ON l.id = g.log WHERE g.id = ?1`;
const NEXT_DUE = "SELECT due FROM claims WHERE grp = ?1 AND lane = ?2 AND due >= 0 ORDER BY due LIMIT 1";
const LOSS = "DELETE FROM losses WHERE grp = ?1 RETURNING first, last, missing";
const NEW_OWNER = "UPDATE meta SET owners = owners + 1 RETURNING owners AS owner";
/**
 * Core is told of a lease that ends this much earlier than the file has it. Leases lie in the file as wall time, since another process
 * has to judge them; core counts on its monotonic clock. A wall clock that is set forward by more than this lets another member have a
 * message early, once: a duplicate, as after any lease that ended, and the former owner's settlement answers "lost". One that is set back
 * delays redelivery by as much. Neither loses anything: ownership is the claim's token, time only says when it may be taken away.
 */
const LEASE_MARGIN_MS = 20;

export interface GroupRow {
  readonly id: number;
  readonly log: number;
  readonly inbox: number;
  readonly epoch: number;
}

/** One member of a group. */
export class GroupSubscription implements Subscription {
  readonly created: boolean;
  readonly #client: Client;
  readonly #group: GroupRow;
  readonly #request: SubscribeRequest;
  readonly #listener: Listener;
  readonly #member: Member;
  readonly #onClose: () => void;
  #topic: Shard = { id: TOPIC_SHARD };
  #inbox: Shard = { id: INBOX_SHARD };
  #epoch: number;
  #tokens = 0;
  #paused = new Set<string>();
  #closed = false;
  #gone: Error | undefined;

  private constructor(client: Client, request: SubscribeRequest, group: GroupRow, created: boolean, owner: number, onClose: (it: GroupSubscription) => void) {
    this.#client = client;
    this.#request = request;
    this.#group = group;
    this.#epoch = group.epoch;
    this.#member = { group: group.id, owner, inbox: group.inbox };
    this.created = created;
    this.#onClose = () => onClose(this);
    this.#listener = new Listener(client, group.log, (elsewhere) => {
      if (elsewhere) this.check();
    });
  }

  static async open(
    client: Client,
    request: SubscribeRequest,
    group: GroupRow,
    created: boolean,
    onClose: (it: GroupSubscription) => void,
  ): Promise<GroupSubscription> {
    const owner = await client.transact("write", () => client.one<{ owner: number }>(NEW_OWNER)?.owner ?? 0);
    return new GroupSubscription(client, request, group, created, owner, onClose);
  }

  // ---- receiving
  async receive(max: number, waitMs: number, signal: AbortSignal): Promise<readonly WireDelivery[]> {
    const until = this.#client.monotonic() + waitMs;
    while (!this.#closed && !signal.aborted) {
      this.#listener.arm();
      const due = this.#paused.size > 0 ? Number.POSITIVE_INFINITY : await this.#work(() => this.#nextDue());
      const now = this.#client.now();
      if (due <= now) {
        const deliveries = await this.#work(() => this.#claim(max), signal);
        if (deliveries.length > 0) return deliveries;
        // Only blocked messages so far: go on looking, but let others have their turn.
        await setImmediate();
        continue;
      }
      const left = until - this.#client.monotonic();
      if (left <= 0) break;
      await this.#listener.wait(Math.min(left, due - now), signal);
    }
    return [];
  }
}
