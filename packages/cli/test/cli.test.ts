import { describe, expect, test } from "vitest";
import { BACKENDS, backendOf } from "../src/backends.ts";
import { type Answer, answer } from "../src/cli.ts";
import { RECORDS } from "../src/records.generated.ts";

const say = (...args: readonly string[]): Answer => answer(args, { width: 100, colours: false });

describe("a backend", () => {
  test.each(Object.entries(RECORDS).flatMap(([name, { schemes }]) => [name, ...schemes].map((word) => [word, name] as const)))(
    "%s is found as %s, by itself and as a URL",
    (word, name) => {
      for (const written of [word, word.toUpperCase(), `${word}:`, `${word}://ada:secret@host:1,other:2/0?x=y`])
        expect(backendOf(written).name).toBe(name);
    },
  );

  test("that is unknown is answered with the one that was meant, and with all", () => {
    expect(say("compare", "kafak", "redis")).toEqual({
      code: 2,
      out: "",
      err: expect.stringMatching(
        /^brokerkit: "kafak" names no backend\. Did you mean kafka\? Known: .*kafka.*\nbrokerkit: brokerkit compare --help/,
      ),
    });
    expect(say("compare", "memory", "carrier-pigeon").err).not.toContain("Did you mean");
  });

  test.each([
    "redsi://ada:s3cret@host/0?password=s3cret",
    "s3cret:s3cret@host",
    "ada:s3cret@host",
    "s3cret@host",
    "//ada:s3cret@host",
    "x s3cret",
    `${"s3cret".repeat(10)}`,
  ])("is never shown with what may be a secret: %s", (word) => {
    const { code, out, err } = say("compare", "memory", word);
    expect(code).toBe(2);
    expect(out + err).not.toContain("s3cret");
  });

  test("credentials of a known one are shown nowhere", () => {
    for (const args of [[], ["--json"]]) {
      const { code, out, err } = say("compare", "redis://ada:s3cret@host:1", "sqlite:s3cret.db?x=s3cret", ...args);
      expect(code).toBe(0);
      expect(out + err).not.toMatch(/s3cret|ada|host/);
    }
  });
});

describe("compare", () => {
  test("prints people's words", () => {
    const { code, out, err } = say("compare", "redis+pubsub", "redis");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    expect(out).toMatch(/^redis\+pubsub → redis\n\d+ worse, \d+ different, \d+ better\n\nDelivery\n/);
    expect(out).not.toContain("\x1b");
  });

  test("prints one JSON object, in which every number is one", () => {
    for (const from of BACKENDS) {
      for (const to of BACKENDS) {
        const { out } = say("compare", from, to, "--json");
        const read = JSON.parse(out) as {
          readonly lost: readonly string[];
          readonly changes: readonly { readonly fields: readonly object[] }[];
        };
        expect(read).toMatchObject({ schema: 1, from: { name: from, package: RECORDS[from]?.package }, to: { name: to } });
        for (const { fields } of read.changes) for (const field of fields) expect(Object.values(field)).not.toContain(null);
      }
    }
    expect(JSON.parse(say("compare", "redis", "redis+pubsub", "--json").out)).toMatchObject({
      lost: expect.arrayContaining(["groups", "replay"]),
    });
  });

  test("ends with 1 when something is lost and --strict is given, and only then", () => {
    expect(say("compare", "redis", "redis+pubsub").code).toBe(0);
    expect(say("compare", "redis", "redis+pubsub", "--strict")).toMatchObject({ code: 1, out: expect.stringContaining("- worse: groups") });
    expect(say("compare", "--strict", "memory", "memory").code).toBe(0);
  });
});

describe("a command line that makes no sense ends with 2 and says why, and nothing is printed to standard output", () => {
  test.each<[args: readonly string[], why: RegExp]>([
    [[], /which command/],
    [["compair"], /Did you mean compare\?/],
    [["s3cret"], /no such command/],
    [["compare"], /two backends/],
    [["compare", "memory"], /two backends/],
    [["compare", "memory", "memory", "s3cret"], /two backends/],
    [["compare", "memory", "memory", "--s3cret"], /--json, --strict, --help/],
    [["compare", "memory", "memory", "--json=s3cret"], /--json, --strict, --help/],
    [["toString"], /no such command/],
  ])("%j", (args, why) => {
    const { code, out, err } = say(...args);
    expect({ code, out }).toEqual({ code: 2, out: "" });
    expect(err).toMatch(why);
    expect(err).toMatch(/--help says what there is\n$/);
    expect(err).not.toContain("s3cret");
  });
});

test("help and version are answers", () => {
  expect(say("--help")).toMatchObject({ code: 0, out: expect.stringContaining("brokerkit compare <from> <to>"), err: "" });
  expect(say("compare", "--help").out).toMatch(/--strict[\s\S]+Exit code: 0/);
  for (const name of BACKENDS) expect(say("compare", "-h").out).toContain(name);
  expect(say("--version").out).toMatch(/^\d+\.\d+\.\d+\n$/);
});
