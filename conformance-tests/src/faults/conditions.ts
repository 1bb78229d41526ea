/** `up`: from the client to the server. `down`: from the server to the client. */
export type Direction = "up" | "down";

/** What a proxy does to the bytes of one direction; it may change at any moment. */
export interface Conditions {
  /** Everything is held back, and the sender feels the back-pressure. */
  paused: boolean;
  /** Bytes, and the end of the stream, disappear; the sender notices nothing. */
  dropping: boolean;
  /** Milliseconds that every byte is late. */
  latencyMs: number;
  /** Bytes a second, for each connection; infinite without a limit. */
  bytesPerSecond: number;
  /** Largest number of bytes passed on in one write; infinite without a limit. */
  sliceBytes: number;
}

export function calm(): Conditions {
  return { paused: false, dropping: false, latencyMs: 0, bytesPerSecond: Number.POSITIVE_INFINITY, sliceBytes: Number.POSITIVE_INFINITY };
}

/** When to cut one connection. It holds once, for the first connection that it fits. */
export interface CutRule {
  /** The direction whose bytes are watched. */
  readonly direction: Direction;
  /** Cut when exactly this many bytes have passed on one connection since the rule was set. */
  readonly bytes?: number | undefined;
  /** Cut at bytes for which this holds. It sees each piece together with up to 1,024 bytes before it. */
  readonly when?: ((bytes: Buffer) => boolean) | undefined;
  /**
   * `after` (default): the bytes have been passed on. `before`: they have not. `answered`: they have been passed on, and the other side has
   * answered since, so it has acted on them (send nothing else before); the answer is swallowed: the sender is in doubt.
   */
  readonly at?: "before" | "after" | "answered" | undefined;
}

export interface DirectionStatistics {
  /** Bytes passed on. */
  readonly passed: number;
  /** Bytes swallowed. */
  readonly dropped: number;
}

export interface ProxyStatistics {
  /** Connections ever accepted. */
  readonly accepted: number;
  readonly open: number;
  /** Connections cut or reset by a fault. */
  readonly cut: number;
  readonly up: DirectionStatistics;
  readonly down: DirectionStatistics;
}
