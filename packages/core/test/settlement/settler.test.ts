import { expect, test } from "vitest";
import type { SettleResult, Shard, WireDelivery } from "../../src/driver/wire.ts";
import { Entry } from "../../src/settlement/entry.ts";
import { Settler } from "../../src/settlement/settler.ts";

const shard: Shard = { id: "0" };
function entry(n: number, own: Shard = shard): Entry {
  const wire = {
    shard: own,
    place: `${own.id}:${n}`,
    body: null,
    failures: 0,
    leaseUntil: Number.POSITIVE_INFINITY,
  } as unknown as WireDelivery;
  return new Entry(wire, String(n), undefined, 0);
}

function setUp(unit: "message" | "prefix", answer: (call: number) => SettleResult = () => "confirmed") {
  const calls: string[][] = [];
  const over: string[] = [];
  const settler = new Settler({
    unit,
    ack: async (deliveries) => {
      calls.push(deliveries.map((delivery) => delivery.place ?? ""));
      return deliveries.map(() => answer(calls.length));
    },
    over: (one, verdict) => {
      one.state = verdict === "settled" ? "over" : "lost";
      over.push(`${one.id} ${verdict}`);
    },
    failed: async () => "again",
  });
  const settle = (...entries: Entry[]): void => {
    for (const one of entries) {
      one.state = "settling";
      settler.add(one);
    }
  };
  return { settler, calls, over, settle };
}

test("acks of one turn are one call, and those that come meanwhile are the next", async () => {
  const { settler, calls, over, settle } = setUp("message");
  settle(entry(1), entry(2));
  await Promise.resolve();
  settle(entry(3), entry(4));
  await settler.flush();
  expect(calls).toEqual([
    ["0:1", "0:2"],
    ["0:3", "0:4"],
  ]);
  expect(over).toEqual(["1 settled", "2 settled", "3 settled", "4 settled"]);
});

test("what was lost while it waited never reaches the wire", async () => {
  const { settler, calls, settle } = setUp("message");
  const [kept, gone] = [entry(1), entry(2)];
  settle(kept, gone);
  gone.state = "lost";
  await settler.flush();
  expect(calls).toEqual([["0:1"]]);
});

test("an ack that met an error is sent again, and one that is no longer ours is given up", async () => {
  const { settler, calls, over, settle } = setUp("message", (call) => (call === 1 ? { error: new Error("cut") } : "lost"));
  settle(entry(1));
  await settler.flush();
  expect(calls).toEqual([["0:1"], ["0:1"]]);
  expect(over).toEqual(["1 lost"]);
});

test("a log gets contiguous heads only: an ack behind a gap is recorded and goes out once the gap is closed", async () => {
  const { settler, calls, over, settle } = setUp("prefix");
  const [one, two, three] = [entry(10), entry(12), entry(17)];
  for (const each of [one, two, three]) settler.delivered(each);
  const recorded = new Promise<void>((resolve, reject) => {
    three.awaiting = { resolve, reject };
  });
  settle(two, three);
  await recorded;
  await settler.flush();
  expect(calls).toEqual([]);
  settle(one);
  await settler.flush();
  expect(calls).toEqual([["0:17"]]);
  expect(over).toEqual(["10 settled", "12 settled", "17 settled"]);
});

test("heads are kept per ownership: a shard taken again starts afresh", async () => {
  const { settler, calls, settle } = setUp("prefix");
  const again: Shard = { id: "0" };
  const [old, fresh] = [entry(1), entry(1, again)];
  settler.delivered(old);
  settler.lost(shard);
  settler.delivered(fresh);
  settle(fresh);
  await settler.flush();
  expect(calls).toEqual([["0:1"]]);
});

test("a flush waits for the acks given before it, not for a moment without any", async () => {
  const { settler, settle } = setUp("message");
  let flushed = false;
  settle(entry(0));
  void settler.flush().then(() => {
    flushed = true;
  });
  for (let n = 1; n < 50 && !flushed; n++) {
    settle(entry(n));
    await Promise.resolve();
  }
  expect(flushed).toBe(true);
});

test("an ack that fails again and again keeps no other from being acknowledged, and a flush from before it waits for it", async () => {
  const acked: string[] = [];
  let broken = true;
  const settler = new Settler({
    unit: "message",
    ack: async (deliveries) => deliveries.map(({ place }) => (place === "0:1" && broken ? { error: new Error("cut") } : "confirmed")),
    over: (one) => {
      one.state = "over";
      acked.push(one.id);
    },
    failed: async () => "again",
  });
  const settle = (one: Entry): void => {
    one.state = "settling";
    settler.add(one);
  };
  settle(entry(1));
  let flushed = false;
  const flush = settler.flush().then(() => {
    flushed = true;
  });
  for (let n = 2; n < 5; n++) {
    settle(entry(n));
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  }
  expect([acked, flushed, settler.pending]).toEqual([["2", "3", "4"], false, 1]);
  broken = false;
  await flush;
  expect([acked, settler.pending]).toEqual([["2", "3", "4", "1"], 0]);
});

test("a head that met an error is covered by a later one of the same call", async () => {
  let failures = 0;
  const over: string[] = [];
  const settler = new Settler({
    unit: "prefix",
    ack: async (deliveries) => deliveries.map((_, n) => (n === 0 ? { error: new Error("cut") } : "confirmed")),
    over: (one) => {
      one.state = "over";
      over.push(one.id);
    },
    failed: async () => {
      failures++;
      return "lost";
    },
  });
  for (const one of [entry(1), entry(2)]) {
    settler.delivered(one);
    one.state = "settling";
    settler.add(one);
  }
  await settler.flush();
  expect([over, failures]).toEqual([["1", "2"], 0]);
});

test("an ownership that ends with nothing outstanding leaves nothing behind", async () => {
  const { settler, calls, settle } = setUp("prefix");
  const [one, two] = [entry(1), entry(2)];
  settler.delivered(one);
  settle(one);
  await settler.flush();
  settler.lost(shard);
  settle(two);
  await settler.flush();
  expect([calls, settler.recorded]).toEqual([[["0:1"]], 0]);
});
