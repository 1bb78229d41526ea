import { expect, test } from "vitest";
import { type Message, Parser } from "../../src/protocol/parser.ts";

const bytes = Buffer.concat([
  Buffer.from('INFO {"version":"2.9.10"}\r\nPING\r\nPONG\r\n+OK\r\n-ERR \'Stale Connection\'\r\n'),
  Buffer.from("MSG a.b 1 5\r\nhe\r\no\r\nMSG a 2 reply.to 0\r\n\r\n"),
  Buffer.from("HMSG a 3 12 15\r\nNATS/1.0\r\n\r\nxyz\r\nHMSG a 4 r 12 12\r\nNATS/1.0\r\n\r\n\r\n"),
  Buffer.from([0x4d, 0x53, 0x47, 0x20, 0x61, 0x20, 0x35, 0x20, 0x33, 0x0d, 0x0a, 0x0a, 0xff, 0x00, 0x0d, 0x0a]),
  Buffer.from("PING\r\n"),
]);

function parse(chunks: readonly Buffer[]) {
  const seen: string[] = [];
  const messages: Message[] = [];
  const parser = new Parser({
    message: (message) => void messages.push(message),
    info: (json) => void seen.push(json),
    error: (text) => void seen.push(text),
    ping: () => void seen.push("ping"),
    pong: () => void seen.push("pong"),
  });
  for (const chunk of chunks) parser.push(chunk);
  const found = messages.map(({ sid, subject, reply, headers, body }) => [sid, subject, reply, headers?.length, body.toString("latin1")]);
  return { seen, found, rest: parser.rest };
}

const whole = {
  seen: ['{"version":"2.9.10"}', "ping", "pong", "Stale Connection", "ping"],
  found: [
    [1, "a.b", "", undefined, "he\r\no"],
    [2, "a", "reply.to", undefined, ""],
    [3, "a", "", 12, "xyz"],
    [4, "a", "r", 12, ""],
    [5, "a", "", undefined, "\n\xff\0"],
  ],
  rest: 0,
};

test("operations are the same wherever the stream is cut", () => {
  expect(parse([bytes])).toEqual(whole);
  for (let cut = 1; cut < bytes.length; cut++) expect(parse([bytes.subarray(0, cut), bytes.subarray(cut)])).toEqual(whole);
  expect(parse(Array.from(bytes, (_, n) => bytes.subarray(n, n + 1)))).toEqual(whole);
});

const MISSHAPEN = [
  "MSG\r\n",
  "MSGS a 1 3\r\n",
  "MSG a x 3\r\n",
  "MSG a 1 r q 3\r\n",
  "MSG a 1 \r\n",
  "HMSG a 1 3\r\n",
  "HMSG a 1 r q 3 3\r\n",
];

test("what is not the protocol is refused", () => {
  for (const text of [
    "HTTP/1.1 400 Bad Request\r\n",
    "MSG a 1\r\n",
    "MSG a 1 r x\r\n",
    "MSG a 1 999999999999\r\n",
    "HMSG a 1 9 3\r\n",
    ...MISSHAPEN,
  ])
    expect(() => parse([Buffer.from(text)])).toThrow(/protocol/);
  expect(() => parse([Buffer.alloc(300_000, 65)])).toThrow(/longer/);
});

test("a large message in small pieces is put together once", () => {
  const body = Buffer.alloc(1_000_000, 120);
  const pieces = [Buffer.from("MSG a 1 1000000\r\n")];
  for (let n = 0; n < body.length; n += 1_000) pieces.push(body.subarray(n, n + 1_000));
  const { found } = parse([...pieces, Buffer.from("\r\n")]);
  expect(String(found[0]?.[4]).length).toBe(1_000_000);
});
