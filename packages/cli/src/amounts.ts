// What records hold, for people.

const TIMES: readonly (readonly [ms: number, unit: string])[] = [
  [86_400_000, "d"],
  [3_600_000, "h"],
  [60_000, "min"],
  [1_000, "s"],
  [1, "ms"],
];
const SIZES: readonly (readonly [bytes: number, unit: string])[] = [
  [1_073_741_824, "GiB"],
  [1_048_576, "MiB"],
  [1_024, "KiB"],
];

/** `10000` → "10,000". */
export function count(value: number): string {
  return value.toLocaleString("en-US");
}

/** Milliseconds in the largest unit that shows them exactly: `30000` → "30 s". */
export function duration(ms: number): string {
  return inUnit(ms, TIMES) ?? `${count(ms)} ms`;
}

/** Bytes in the largest unit that shows them exactly: `1048576` → "1 MiB"; a bare number where none does. */
export function size(bytes: number): string {
  return inUnit(bytes, SIZES) ?? count(bytes);
}

/** A value of a record by its field, whose name tells the unit: `("lease.ms", 30000)` → "30 s". */
export function shown(field: string, value: unknown): string {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (Array.isArray(value)) return value.length === 0 ? "–" : value.join(", ");
  if (typeof value !== "number") return String(value);
  if (value === Number.POSITIVE_INFINITY) return "no limit";
  if (value === 0) return "0";
  if (/ms$/i.test(field)) return duration(value);
  return /bytes$/i.test(field) ? size(value) : count(value);
}

function inUnit(value: number, units: readonly (readonly [number, string])[]): string | undefined {
  const [each, unit] = units.find(([one]) => value % one === 0) ?? [];
  return each === undefined ? undefined : `${count(value / each)} ${unit}`;
}
