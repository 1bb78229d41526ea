/** Calls at once. */
const WIDTH = 16;

/** Runs `work` for each of `count` partitions, a few at a time; their results in order, or the first failure once all that had begun is over. */
export async function eachPart<T>(count: number, work: (part: number) => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  let next = 0;
  let failed = false;
  const worker = async (): Promise<void> => {
    while (next < count && !failed) {
      const part = next++;
      try {
        results[part] = await work(part);
      } catch (error) {
        failed = true;
        throw error;
      }
    }
  };
  const outcomes = await Promise.allSettled(Array.from({ length: Math.min(WIDTH, count) }, worker));
  for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  return results;
}
