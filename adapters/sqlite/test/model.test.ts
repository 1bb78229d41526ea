import type { Driver, Subscription, WireDelivery } from "brokerkit/driver";
import { describe, expect, it } from "vitest";
import { EARLIEST, Events, file, ManualClock, member, never, open, put, random, record, textOf } from "./stage.ts";

const LEASE_MS = 1_000;

interface Seat {
  readonly subscription: Subscription;
  readonly owned: Map<string, WireDelivery>;
  until: number;
}

/** Drives a group by chance, through members of two connections that come, go, crash, fail and dawdle, and checks each hand-out. */
class Model {
  readonly #random: () => number;
  readonly #clock = new ManualClock();
  readonly #drivers: Driver[];
  readonly #seats: Seat[] = [];
  readonly #published = new Map<string, string[]>();
  readonly #acked = new Set<string>();
  readonly #delayed = new Map<string, number>();
  #count = 0;

  private constructor(seed: number, drivers: Driver[], clock: ManualClock) {
    this.#random = random(seed);
    this.#drivers = drivers;
    this.#clock = clock;
  }

  static async make(seed: number): Promise<Model> {
    const clock = new ManualClock();
    const path = file();
    const options = { path, leaseMs: LEASE_MS, synchronous: "normal" } as const;
    const drivers = [(await open(options, clock)).driver, (await open(options, clock)).driver];
    const [first] = drivers as [Driver];
    await first.admin.createTopic({ name: "orders" }, never);
    await first.admin.createGroup("orders", "g", EARLIEST, never);
    return new Model(seed, drivers, clock);
  }

  #pick<T>(items: readonly T[]): T {
    return items[Math.floor(this.#random() * items.length)] as T;
  }

  #chance(p: number): boolean {
    return this.#random() < p;
  }

  async step(): Promise<void> {
    const dice = this.#random();
    if (dice < 0.3) await this.#publish();
    else if (dice < 0.6) await this.#receive();
    else if (dice < 0.85) await this.#settle();
    else if (dice < 0.9) await this.#comeOrGo();
    else this.#clock.advance(Math.floor(this.#random() * 300));
  }

  async #publish(): Promise<void> {
    const records = Array.from({ length: 1 + Math.floor(this.#random() * 8) }, () => {
      const key = this.#chance(0.2) ? undefined : `k${Math.floor(this.#random() * 5)}`;
      const name = `${this.#count++}`;
      if (key !== undefined) this.#published.set(key, [...(this.#published.get(key) ?? []), name]);
      else this.#published.set(`-${name}`, [name]);
      return record(name, { key });
    });
    await put(this.#pick(this.#drivers), ...records);
  }

  async #receive(): Promise<void> {
    if (this.#seats.length === 0) return this.#comeOrGo();
    const seat = this.#pick(this.#seats);
    const now = this.#clock.monotonic();
    const got = await seat.subscription.receive(1 + Math.floor(this.#random() * 6), 0, never);
    for (const one of this.#seats) for (const [name, delivery] of one.owned) if (delivery.leaseUntil + 20 <= now) one.owned.delete(name);
    for (const delivery of got) this.#check(seat, delivery);
  }

  #check(seat: Seat, delivery: WireDelivery): void {
    const name = textOf(delivery.body);
    expect(this.#acked.has(name), `${name} was acknowledged and came again`).toBe(false);
    const key = delivery.key && textOf(delivery.key);
    for (const other of this.#seats) {
      expect(other.owned.has(name), `${name} is in two hands`).toBe(false);
      if (key === undefined || other === seat) continue;
      for (const [held, { key: heldKey }] of other.owned)
        expect(heldKey && textOf(heldKey), `${name} came while another member had ${held}`).not.toBe(key);
    }
    if (key !== undefined) {
      const mine = [...seat.owned.keys()];
      for (const earlier of this.#published.get(key) ?? []) {
        if (earlier === name) break;
        const settled = this.#acked.has(earlier) || mine.includes(earlier);
        expect(settled, `${name} came before ${earlier} of its key`).toBe(true);
      }
    }
    const due = this.#delayed.get(name) ?? 0;
    expect(this.#clock.now(), `${name} came before its delay was over`).toBeGreaterThanOrEqual(due);
    seat.owned.set(name, delivery);
  }

  async #settle(): Promise<void> {
    if (this.#seats.length === 0) return;
    const seat = this.#pick(this.#seats);
    const some = [...seat.owned].filter(() => this.#chance(0.6));
    if (some.length === 0) return;
    const deliveries = some.map(([, delivery]) => delivery);
    const nack = this.#chance(0.25);
    const delayMs = this.#chance(0.5) ? 0 : Math.floor(this.#random() * 900);
    const due = this.#clock.now() + delayMs;
    const results = nack
      ? await seat.subscription.nack?.(deliveries.map((delivery) => ({ delivery, delayMs, failures: delivery.failures + 1 })))
      : await seat.subscription.ack(deliveries);
    for (const [n, [name]] of some.entries()) {
      expect(results?.[n], `${name}, owned, settled`).toBe("confirmed");
      seat.owned.delete(name);
      if (nack) this.#delayed.set(name, due);
      else this.#acked.add(name);
    }
  }

  async #comeOrGo(): Promise<void> {
    if (this.#seats.length < 4 && this.#chance(0.6)) {
      const subscription = await member(this.#pick(this.#drivers), "g", EARLIEST, new Events());
      this.#seats.push({ subscription, owned: new Map(), until: 0 });
    } else if (this.#seats.length > 0) {
      const seat = this.#pick(this.#seats);
      // A crash leaves what it owns to its lease: the seat stays in the books, and does nothing any more but by chance.
      if (this.#chance(0.4)) this.#clock.advance(LEASE_MS);
      else {
        this.#seats.splice(this.#seats.indexOf(seat), 1);
        await seat.subscription.close();
      }
    }
  }

  /** Lets all leases end and acknowledges what is left, by one member. */
  async drain(): Promise<void> {
    this.#clock.advance(2 * LEASE_MS);
    const last: Seat = { subscription: await member(this.#drivers[0] as Driver, "g"), owned: new Map(), until: 0 };
    this.#seats.splice(0, this.#seats.length, last);
    for (let idle = 0; idle < 3; ) {
      const got = await last.subscription.receive(50, 0, never);
      for (const delivery of got) {
        this.#check(last, delivery);
        this.#acked.add(textOf(delivery.body));
      }
      await last.subscription.ack(got);
      for (const delivery of got) last.owned.delete(textOf(delivery.body));
      idle = got.length === 0 ? idle + 1 : 0;
      if (got.length === 0) this.#clock.advance(LEASE_MS);
    }
    expect(this.#acked.size).toBe(this.#count);
    const lag = await (this.#drivers[0] as Driver).admin.lag("orders", "g", never);
    expect(lag).toMatchObject({ count: 0, inFlight: 0 });
  }
}

describe("a group whose members come, go, crash and fail by chance", () => {
  it.each([1, 2, 3])("hands out everything, each key in order and to one member at a time (seed %i)", async (seed) => {
    const model = await Model.make(seed);
    for (let n = 0; n < 1_000; n++) await model.step();
    await model.drain();
  });
});
