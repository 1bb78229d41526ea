/**
 * Keeps the process alive while something is under way (pending publishes, running subscriptions), whatever sockets exist at the moment:
 * a worker must not end silently between two attempts to reconnect.
 */
export class Keepalive {
  #holders = 0;
  #timer: NodeJS.Timeout | undefined;

  hold(): void {
    if (this.#holders++ > 0) return;
    this.#timer ??= setInterval(() => {}, 2 ** 30);
    this.#timer.ref();
  }

  release(): void {
    if (--this.#holders === 0) this.#timer?.unref();
  }

  close(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
