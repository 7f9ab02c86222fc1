/** What the rooms take from the browser to tell and pass time, so that tests can bring simulated time. */
export interface Timing {
  /** Monotonic milliseconds. */
  now(): number
  setTimer(callback: () => void, milliseconds: number): number
  clearTimer(timer: number): void
  /** 0 to below 1. */
  random(): number
}

export const browserTiming: Timing = {
  now: () => performance.now(),
  setTimer: (callback, milliseconds) => window.setTimeout(callback, milliseconds),
  clearTimer: (timer) => window.clearTimeout(timer),
  random: Math.random,
}

/**
 * The wait before try number `failures + 1`: doubled from `first` up to `most`, and spread over its upper half, so that a
 * daemon that comes back is not met by everybody in one moment.
 */
export function backoff(failures: number, first: number, most: number, random: number): number {
  return Math.min(most, first * 2 ** Math.min(failures, 16)) * (0.5 + random / 2)
}
