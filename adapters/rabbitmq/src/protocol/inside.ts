import type { Socket } from "node:net";
import type { Writable } from "node:stream";
import type { Channel, ChannelModel } from "amqplib";
import { driverError } from "brokerkit/driver";
import { unavailable } from "../errors.ts";

/** What the driver uses of the client that its types do not tell. package.json names one exact version for that reason. */
interface Connection {
  readonly stream: Pick<Socket, "emit" | "resetAndDestroy">;
  readonly frameMax: number;
  /** By number, those that are open; each has what it wants to send in a buffer that takes whole frames. */
  readonly channels: readonly ({ readonly channel: unknown; readonly buffer: Pick<Writable, "write"> } | null)[];
}

/** The way of one channel's frames to the server. */
export interface Outlet {
  readonly channel: number;
  readonly frameMax: number;
  /** Whole frames, sent behind everything that was written on this channel before. */
  write(frames: Buffer): void;
}

function connectionOf({ connection }: { readonly connection: unknown }): Connection {
  const { stream, frameMax, channels } = Object(connection) as Partial<Connection>;
  const known =
    typeof stream?.resetAndDestroy === "function" && typeof frameMax === "number" && typeof channels?.[0]?.buffer?.write === "function";
  if (known) return connection as Connection;
  const text = `The amqplib that is installed is not the one that this adapter is made for: its connection has no "stream", "frameMax" or "channels" with a buffer each. Install the version that package.json of @brokerkit/rabbitmq names.`;
  throw driverError("UNSUPPORTED", text);
}

/** Throws UNSUPPORTED where the client is another one than the driver knows. */
export function checkClient(model: ChannelModel): void {
  connectionOf(model);
}

/** Throws UNAVAILABLE when the channel has been closed. */
export function outletOf(channel: Channel): Outlet {
  const { frameMax, channels } = connectionOf(channel);
  const { ch } = channel as unknown as { readonly ch: number };
  const own = channels[ch];
  if (own?.channel !== channel) throw unavailable("The channel was closed.");
  const { buffer } = own;
  return { channel: ch, frameMax, write: (frames) => void buffer.write(frames) };
}

/** Cuts the socket: what waits in the system's buffers is dropped, and the client fails with `reason`. */
export function reset(model: ChannelModel, reason: Error): void {
  const { stream } = model.connection as Partial<Connection>;
  if (typeof stream?.resetAndDestroy !== "function") return;
  stream.resetAndDestroy();
  // A reset is no error to the client by itself.
  stream.emit("error", reason);
}
