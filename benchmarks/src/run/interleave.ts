/** The order of each round, A B B A: whatever drifts while the rounds go on falls on all columns alike. */
export function interleaved<T>(items: readonly T[], rounds: number): T[][] {
  return Array.from({ length: rounds }, (_, round) => (round % 2 === 0 ? [...items] : [...items].reverse()));
}
