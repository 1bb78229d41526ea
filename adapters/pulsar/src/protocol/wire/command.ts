import { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { WireError } from "./errors.ts";
import { type BaseCommand, BaseCommandSchema } from "./pulsar.generated.ts";

type Given = { readonly case: string };

/** Any command, told apart by `case`. */
export type Command = Extract<BaseCommand["command"], Given>;
/** A command to be sent: `value` has the fields that differ from their defaults. */
export type CommandInit = Extract<MessageInitShape<typeof BaseCommandSchema>["command"], Given>;

/** The newest version of the protocol that this code knows. */
export const PROTOCOL_VERSION = 21;
/** The request id of what the broker closes, or complains of, without having been asked. */
export const UNASKED = 0xffffffff;

/** A command's type is the number of its field. */
const TYPES: ReadonlyMap<string, number> = new Map(BaseCommandSchema.fields.map((field) => [field.localName, field.number]));

/** A frame of a command alone: `[total size][command size][command]`, sizes in 4 bytes, big endian. */
export function commandFrame(command: CommandInit): Buffer {
  const bytes = toBinary(BaseCommandSchema, create(BaseCommandSchema, { type: TYPES.get(command.case) as number, command }));
  const frame = Buffer.allocUnsafe(8 + bytes.length);
  frame.writeUInt32BE(4 + bytes.length, 0);
  frame.writeUInt32BE(bytes.length, 4);
  frame.set(bytes, 8);
  return frame;
}

/** `undefined` for a command that this code does not know. */
export function decodeCommand(bytes: Uint8Array): Command | undefined {
  let base: BaseCommand;
  try {
    base = fromBinary(BaseCommandSchema, bytes);
  } catch (error) {
    throw new WireError("The server sent a command that can't be decoded.", { cause: error });
  }
  const { type, command } = base;
  if (command.case === undefined) return undefined;
  if (TYPES.get(command.case) !== type) throw new WireError("The server sent a command whose type is of another one.");
  return command;
}

export const PING: Buffer = commandFrame({ case: "ping", value: {} });
export const PONG: Buffer = commandFrame({ case: "pong", value: {} });
