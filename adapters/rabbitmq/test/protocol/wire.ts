import { createRequire } from "node:module";
import { dirname, join } from "node:path";

// The client's own reading and writing of frames, which it does not export.
const require = createRequire(import.meta.url);
const inside = <T>(file: string): T => require(join(dirname(require.resolve("amqplib")), "lib", file)) as T;

interface Parsed {
  readonly size: number;
  readonly rest: Buffer;
}

interface Frame {
  readonly id?: number;
  readonly channel: number;
  readonly size?: number;
  readonly fields?: Readonly<Record<string, unknown>>;
  readonly content?: Buffer;
}

const frame = inside<{
  parseFrame(bytes: Buffer, most: number): Parsed | false;
  decodeFrame(parsed: Parsed): Frame;
  makeBodyFrame(channel: number, body: Buffer): Buffer;
}>("frame.js");
const defs = inside<{
  readonly BasicPublish: number;
  readonly BasicProperties: number;
  encodeMethod(id: number, channel: number, fields: object): Buffer;
  encodeProperties(id: number, channel: number, size: number, fields: object): Buffer;
}>("defs.js");

export interface Written {
  readonly channel: number;
  readonly method: Readonly<Record<string, unknown>>;
  readonly properties: Readonly<Record<string, unknown>> & { readonly headers: Readonly<Record<string, unknown>> };
  readonly content: Buffer;
}

/** The messages in these buffers as the client reads them. Throws unless each buffer is whole frames of at most `frameMax` bytes. */
export function written(buffers: readonly Buffer[], frameMax: number): Written[] {
  const frames: Frame[] = [];
  for (const buffer of buffers) {
    for (let rest = buffer; rest.length > 0; ) {
      const parsed = frame.parseFrame(rest, frameMax - 8);
      if (parsed === false) throw new Error(`half a frame: ${rest.length} bytes are left`);
      frames.push(frame.decodeFrame(parsed));
      rest = parsed.rest;
    }
  }
  const messages: Written[] = [];
  while (frames.length > 0) {
    const [method, header] = frames.splice(0, 2);
    if (method?.id !== defs.BasicPublish || header?.id !== defs.BasicProperties) throw new Error("not a method and its properties");
    const parts: Buffer[] = [];
    for (let left = header.size as number; left > 0; left -= parts.at(-1)?.length ?? 0) {
      const content = frames.shift()?.content;
      if (content === undefined || content.length > left) throw new Error("not the body that was announced");
      parts.push(content);
    }
    messages.push({
      channel: method.channel,
      method: method.fields as Written["method"],
      properties: header.fields as Written["properties"],
      content: Buffer.concat(parts),
    });
  }
  return messages;
}

/** What the client itself would write. */
export function byTheClient(channel: number, method: object, properties: object, body: Buffer, frameMax: number): Buffer {
  const parts = [
    defs.encodeMethod(defs.BasicPublish, channel, method),
    defs.encodeProperties(defs.BasicProperties, channel, body.length, properties),
  ];
  for (let at = 0; at < body.length; at += frameMax - 8) parts.push(frame.makeBodyFrame(channel, body.subarray(at, at + frameMax - 8)));
  return Buffer.concat(parts);
}
