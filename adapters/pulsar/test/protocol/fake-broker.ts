import { createServer, type Socket } from "node:net";
import { type Command, type CommandInit, commandFrame, decodeCommand } from "../../src/protocol/wire/command.ts";
import { defer } from "./stage.ts";

/** What a fake answers to a command, in order. */
export type Answers = (command: Command, connection: number) => readonly (CommandInit | Buffer)[];

export interface FakeBroker {
  readonly host: string;
  readonly port: number;
  /** Commands in the order they came, of all connections. */
  readonly commands: Command[];
  /** Connections that are open. */
  readonly open: number;
}

/** Greets, and otherwise says what it is told to: for what one standalone broker never does. It stores nothing. */
export async function startFakeBroker(answers: Answers, protocolVersion = 21): Promise<FakeBroker> {
  const commands: Command[] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    const connection = ++connections;
    sockets.add(socket);
    socket.on("error", () => {}).on("close", () => sockets.delete(socket));
    const take = (command: Command): void => {
      commands.push(command);
      const greeting: CommandInit = { case: "connected", value: { serverVersion: "Fake", protocolVersion, maxMessageSize: 5_242_880 } };
      const said = command.case === "connect" ? [greeting] : answers(command, connection);
      for (const one of said) socket.write(Buffer.isBuffer(one) ? one : commandFrame(one));
    };
    let unread = Buffer.alloc(0);
    socket.on("data", (bytes: Buffer) => {
      unread = Buffer.concat([unread, bytes]);
      while (unread.length >= 8 && unread.length >= 4 + unread.readUInt32BE(0)) {
        const command = decodeCommand(unread.subarray(8, 8 + unread.readUInt32BE(4)));
        unread = unread.subarray(4 + unread.readUInt32BE(0));
        if (command !== undefined) take(command);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  defer(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return {
    host: "127.0.0.1",
    port,
    commands,
    get open() {
      return sockets.size;
    },
  };
}
