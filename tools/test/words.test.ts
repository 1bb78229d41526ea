import { expect, test } from "vitest";
import { plainWords, shortened } from "../lanes/words.ts";

test("who signs in to a URL stays hidden, and the rest of it is shown", () => {
  const said = "connect amqp://guest:c%40nary@127.0.0.1:5672/v failed; see https://user@example.org/a and https://example.org/b@c";
  expect(plainWords(said, {})).toBe(
    "connect amqp://***@127.0.0.1:5672/v failed; see https://***@example.org/a and https://example.org/b@c",
  );
});

test("the values of secret settings stay hidden, those of others and short ones are shown", () => {
  const env = { NPM_TOKEN: "abcd1234efgh", DB_PASSWORD: "test", HOME: "/home/somebody" };
  expect(plainWords("abcd1234efgh test /home/somebody", env)).toBe("*** test /home/somebody");
});

test("colours of other tools go", () => expect(plainWords("\u001b[31mred\u001b[0m", {})).toBe("red"));

test("a long text keeps its beginning and its end, says so, and never has more lines than asked for", () => {
  expect(shortened("a\n\nb\nc", 3)).toBe("a\nb\nc");
  expect(shortened("a\nb\n\nc\nd", 3)).toBe("a\n… 2 more lines …\nd");
  expect(shortened("a\nb\nc\nd\ne\nf\ng", 6)).toBe("a\nb\nc\n… 2 more lines …\nf\ng");
  expect(shortened("a\nb\nc", 2)).toBe("a\n… 2 more lines …");
});
