/** A member as the register has it. `beat` is new with each of its writes, never one it had before; unchanged for `ttlMs`, it counts as gone. */
export interface Beat {
  readonly beat: number;
  readonly ttlMs: number;
}

/** Who has a partition. `fence` grows with every change of the owner. */
export interface Claim {
  readonly owner: string | undefined;
  readonly fence: number;
}

/** What the members of one group agree on. */
export interface Owners {
  readonly members: ReadonlyMap<string, Beat>;
  readonly claims: readonly Claim[];
}

/** What one member does next. */
export interface Plan {
  readonly next: Owners;
  /** Something besides its beat changes: it can't wait. */
  readonly urgent: boolean;
  /** Partitions of its own beyond its share: to be drained and let go. */
  readonly excess: readonly number[];
}

const VERSION = 1;
type Stored = readonly [owner: string | 0, fence: number];

/** Reads a register; what is not of `parts` partitions is begun again, behind all fences so far. */
export function decodeOwners(bytes: Uint8Array | undefined, parts: number): Owners {
  const stored =
    bytes === undefined
      ? undefined
      : (JSON.parse(Buffer.from(bytes).toString()) as { members: [string, number, number][]; claims: Stored[] });
  const claims = (stored?.claims ?? []).map(([owner, fence]): Claim => ({ owner: owner === 0 ? undefined : owner, fence }));
  const members = new Map((stored?.members ?? []).map(([id, beat, ttlMs]) => [id, { beat, ttlMs }]));
  if (claims.length === parts) return { members, claims };
  const fence = claims.reduce((most, claim) => Math.max(most, claim.fence), 0);
  return { members, claims: Array.from({ length: parts }, () => ({ owner: undefined, fence })) };
}

export function encodeOwners({ members, claims }: Owners): Uint8Array {
  return Buffer.from(
    JSON.stringify({
      version: VERSION,
      members: [...members].map(([id, { beat, ttlMs }]) => [id, beat, ttlMs]),
      claims: claims.map(({ owner, fence }): Stored => [owner ?? 0, fence]),
    }),
  );
}

/** How many partitions each member is to have: as even as can be, and those with the most keep what is over, so that as few as possible move. */
function sharesOf(members: Iterable<string>, claims: readonly Claim[]): ReadonlyMap<string, number> {
  const had = new Map<string, number>([...members].map((id) => [id, 0]));
  for (const { owner } of claims) if (owner !== undefined) had.set(owner, (had.get(owner) ?? 0) + 1);
  const ranked = [...had].sort(([a, x], [b, y]) => y - x || (a < b ? -1 : 1));
  const least = Math.floor(claims.length / ranked.length);
  const over = claims.length % ranked.length;
  return new Map(ranked.map(([id], rank) => [id, rank < over ? least + 1 : least]));
}

/**
 * What `me` is to write, with the beat `mine`. `gone` says who counts as dead, `held` under which fence `me` has a partition, `drained` what it has let go.
 * A partition that the register calls `me`'s and `me` does not hold (its own time was up, or an answer was lost) is taken anew.
 */
export function planOwners(
  found: Owners,
  me: string,
  mine: Beat,
  gone: (id: string) => boolean,
  held: ReadonlyMap<number, number>,
  drained: ReadonlySet<number>,
): Plan {
  const members = new Map([...found.members].filter(([id]) => id === me || !gone(id)));
  let urgent = members.size < found.members.size || !members.has(me);
  members.set(me, mine);
  const claims = found.claims.map((claim, part): Claim => {
    const { owner, fence } = claim;
    if (owner === undefined) return claim;
    if (!members.has(owner) || (owner === me && drained.has(part))) {
      urgent = true;
      return { owner: undefined, fence };
    }
    if (owner !== me || held.get(part) === fence) return claim;
    urgent = true;
    return { owner, fence: fence + 1 };
  });
  const share = sharesOf(members.keys(), claims).get(me) ?? 0;
  const own = claims.flatMap(({ owner }, part) => (owner === me ? [part] : []));
  for (let part = 0, room = share - own.length; part < claims.length && room > 0; part++) {
    const { owner, fence } = claims[part] as Claim;
    if (owner !== undefined) continue;
    claims[part] = { owner: me, fence: fence + 1 };
    urgent = true;
    room--;
  }
  return { next: { members, claims }, urgent, excess: own.slice(share) };
}

/** What is left when `me` has gone. */
export function withoutMember({ members, claims }: Owners, me: string): Owners {
  return {
    members: new Map([...members].filter(([id]) => id !== me)),
    claims: claims.map((claim) => (claim.owner === me ? { owner: undefined, fence: claim.fence } : claim)),
  };
}
