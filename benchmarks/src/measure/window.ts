/**
 * Keeps `limit` calls of `send` under way until each of `count` indexes from `first` on was sent; `step` is how many one call takes.
 * Resolves when all have; rejects with the first failure.
 */
export function windowed(
  first: number,
  count: number,
  limit: number,
  step: number,
  send: (index: number, count: number) => Promise<unknown>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const end = first + count;
    let next = first;
    let open = 0;
    const fill = (): void => {
      while (next < end && open < limit) {
        const size = Math.min(step, end - next);
        open++;
        send(next, size).then(done, reject);
        next += size;
      }
    };
    const done = (): void => {
      open--;
      if (next < end) fill();
      else if (open === 0) resolve();
    };
    if (count === 0) resolve();
    else fill();
  });
}
