import { ClassicMember } from "./classic.ts";
import type { Cluster } from "./cluster.ts";
import { ConsumerGroupMember } from "./consumer-group.ts";
import type { Membership, MembershipRequest } from "./member.ts";

export type { Assigned, MemberEpoch, Membership, MembershipEvents, MembershipRequest } from "./member.ts";

/** A member of a group, not joined yet, that speaks the protocol that the options name. */
export function createMembership(cluster: Cluster, request: MembershipRequest): Membership {
  return request.behaviour.groupProtocol === "consumer" ? new ConsumerGroupMember(cluster, request) : new ClassicMember(cluster, request);
}
