import type { Assigned } from "./membership.ts";

/** One member as the group's leader sees it. */
export interface Claimant {
  readonly id: string;
  /** Its instance id where it has one: what the order of members goes by, so that a restart moves nothing. */
  readonly name: string;
  readonly topics: readonly string[];
  /** What it says it owns, and under which generation it came to it. */
  readonly owned: readonly Assigned[];
  readonly generation: number;
}

/** The claimant of the latest generation; an older claim may be out of date. */
function ownerOf(claims: readonly Claimant[]): Claimant | undefined {
  return claims.reduce<Claimant | undefined>(
    (best, one) => (best === undefined || one.generation > best.generation ? one : best),
    undefined,
  );
}

function claimsOf(members: readonly Claimant[]): ReadonlyMap<string, readonly (readonly Claimant[])[]> {
  const claims = new Map<string, Claimant[][]>();
  for (const member of members) {
    for (const { topic, partition } of member.owned) {
      const ofTopic = claims.get(topic) ?? [];
      claims.set(topic, ofTopic);
      ofTopic[partition] = [...(ofTopic[partition] ?? []), member];
    }
  }
  return claims;
}

/**
 * Shares partitions out: each topic evenly, then all of them; what a member has it keeps where that allows. What moves from one member to
 * another is given to nobody until its owner, who sees it missing, has let go and joined again (KIP-429, cooperative rebalancing).
 * It is stricter than the client's own assignor, which balances sums only (a topic with one member, its inbox with another) and
 * passes over the claims of members that missed a generation.
 * @param partitions how many partitions each topic has
 * @returns what each member is given, by member id
 */
export function assign(members: readonly Claimant[], partitions: ReadonlyMap<string, number>): ReadonlyMap<string, readonly Assigned[]> {
  const byName = [...members].sort((a, b) => (a.name < b.name ? -1 : 1));
  const claims = claimsOf(byName);
  const given = new Map<string, Assigned[]>(byName.map(({ id }) => [id, []]));
  const totals = new Map<string, number>();
  const total = ({ id }: Claimant): number => totals.get(id) ?? 0;
  for (const topic of [...partitions.keys()].sort()) {
    const count = partitions.get(topic) ?? 0;
    const claimed = claims.get(topic) ?? [];
    const owners = Array.from({ length: count }, (_, partition) => ownerOf(claimed[partition] ?? []));
    const has = new Map<Claimant, number>();
    for (const owner of owners) if (owner !== undefined) has.set(owner, (has.get(owner) ?? 0) + 1);
    // Who comes first gets one more where it does not come out even: who has least so far, then who need give none up.
    const readers = byName
      .filter(({ topics }) => topics.includes(topic))
      .sort((a, b) => total(a) - total(b) || (has.get(b) ?? 0) - (has.get(a) ?? 0));
    if (readers.length === 0) continue;
    const room = new Map(readers.map((reader, at) => [reader, Math.floor(count / readers.length) + (at < count % readers.length ? 1 : 0)]));
    for (const [{ id }, quota] of room) totals.set(id, (totals.get(id) ?? 0) + quota);
    const give = (to: Claimant, partition: number): void => {
      room.set(to, (room.get(to) ?? 0) - 1);
      const others = claimed[partition] ?? [];
      if (others.length === 0 || others.includes(to)) given.get(to.id)?.push({ topic, partition });
    };
    const left: number[] = [];
    owners.forEach((owner, partition) => {
      if (owner !== undefined && (room.get(owner) ?? 0) > 0) give(owner, partition);
      else left.push(partition);
    });
    const open = readers.values();
    let next = open.next();
    for (const partition of left) {
      while (!next.done && room.get(next.value) === 0) next = open.next();
      if (!next.done) give(next.value, partition);
    }
  }
  return given;
}
