import type { MessageInitShape } from "@bufbuild/protobuf";
import type { MessageId } from "../../transport.ts";
import { WireError } from "./errors.ts";
import { type MessageIdData, type MessageIdDataSchema, ServerError } from "./pulsar.generated.ts";

export type MessageIdInit = MessageInitShape<typeof MessageIdDataSchema>;

const NONE = 0xffff_ffff_ffff_ffffn;
const LAST = 0x7fff_ffff_ffff_ffffn;

/** Before the first message that a topic still has. */
export const EARLIEST: MessageIdInit = { ledgerId: NONE, entryId: NONE };
/** After the last one. */
export const LATEST: MessageIdInit = { ledgerId: LAST, entryId: LAST };

function wide(value: number): bigint {
  return value < 0 ? NONE : BigInt(value);
}

function narrow(value: bigint): number {
  if (value === NONE) return -1;
  if (value > Number.MAX_SAFE_INTEGER) throw new WireError("The server sent a position beyond 2^53.");
  return Number(value);
}

/** -1 as ledger or entry is what the protocol writes as 64 bits of ones. */
export function toMessageIdData(id: Pick<MessageId, "ledger" | "entry"> & Partial<MessageId>): MessageIdInit {
  return {
    ledgerId: wide(id.ledger),
    entryId: wide(id.entry),
    ...(id.partition === undefined ? {} : { partition: id.partition }),
    ...(id.batchIndex === undefined ? {} : { batchIndex: id.batchIndex }),
  };
}

export function fromMessageIdData({ ledgerId, entryId, partition, batchIndex }: MessageIdData): MessageId {
  return { ledger: narrow(ledgerId), entry: narrow(entryId), partition, batchIndex };
}

const NAMES: ReadonlyMap<number, string> = new Map(Object.entries(ServerError).map(([name, code]) => [code, name]));

/** Such as `TopicNotFound`; a code that is not known here is `ServerError26`. */
export function serverErrorName(code: number): string {
  return NAMES.get(code) ?? `ServerError${code}`;
}
