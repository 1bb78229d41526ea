import { memory } from "./src/index.ts";
import { performance } from "node:perf_hooks";
const clock = { now: () => Date.now(), monotonic: () => performance.now(), timer: (ms: number, run: () => void) => { const t = setTimeout(run, ms); t.unref(); return { cancel: () => clearTimeout(t) }; } };
const never = new AbortController().signal;
const enc = new TextEncoder();
const keyed = process.argv[2] !== "nokey";
const size = Number(process.argv[3] ?? 128), N = Number(process.argv[4] ?? 500_000), B = Number(process.argv[5] ?? 1000);
const dedupe = process.argv[6] === undefined ? {} : { dedupeMs: Number(process.argv[6]) };
let c = 0;
const body = new Uint8Array(size).fill(65);
const hv = enc.encode("application/json");
async function round(show: boolean): Promise<void> {
  const driver = memory(dedupe).open({ clock, down: () => {} });
  await driver.connect(never);
  await driver.admin.createTopic({ name: "t" }, never);
  const sub = await driver.subscribe({ topic: "t", group: "g", from: { kind: "latest" }, credit: 1e4, events: { lost() {}, state() {}, dataLoss() {} } }, never);
  const keys = Array.from({ length: 1000 }, (_, i) => enc.encode(`customer-${i}`));
  let tp = 0, td = 0, ta = 0; const P: number[] = [], D: number[] = [], A: number[] = [];
  for (let n = 0; n < N; n += B) {
    const batch = Array.from({ length: B }, (_, i) => { const id = `Zm9vYmFyYmF6cXV4.${(c++).toString(36)}`; return { target: { topic: "t" }, id, dedupeId: id, key: keyed ? keys[(n + i * 7) % 1000] : undefined, headers: process.argv[7] ? [["content-type", hv]] as const : [], body, publishedAt: Date.now(), delayMs: undefined, ttlMs: undefined, priority: undefined, failures: undefined }; });
    let t = process.cpuUsage(); let w = performance.now();
    const res = await driver.publish(batch, never); if (res.length !== B) throw 1;
    P.push(performance.now() - w); let d = process.cpuUsage(t); tp += d.user + d.system;
    t = process.cpuUsage(); w = performance.now();
    const got = await sub.receive(B, 0, never);
    if (got.length !== B) throw new Error(`got ${got.length}`);
    D.push(performance.now() - w); d = process.cpuUsage(t); td += d.user + d.system;
    t = process.cpuUsage(); w = performance.now();
    const acks = await sub.ack(got); if (acks[0] !== "confirmed") throw 2;
    A.push(performance.now() - w); d = process.cpuUsage(t); ta += d.user + d.system;
  }
  if (show) console.log(`keyed=${keyed} ${size}B n=${N} batch=${B}: publish ${(tp * 1e3 / N).toFixed(0)} ns, receive ${(td * 1e3 / N).toFixed(0)} ns, ack ${(ta * 1e3 / N).toFixed(0)} ns; p25/p50 wall: ${q(P)} ${q(D)} ${q(A)}; rss ${(process.memoryUsage().rss / 2 ** 20).toFixed(0)} MB`);
  await driver.close();
}
const q = (x: number[]): string => { x.sort((a, b) => a - b); const f = (p: number): string => ((x[Math.floor(x.length * p)] ?? 0) * 1e6 / B).toFixed(0); return `${f(0.25)}/${f(0.5)}`; };
await round(false);
for (let r = 0; r < 3; r++) await round(true);
