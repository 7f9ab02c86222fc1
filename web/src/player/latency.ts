/**
 * How far behind live a viewer is. Pure.
 *
 * The event's own clock tells it best: PROGRAM-DATE-TIME is when a moment arrived at the server, and the server says what
 * time it has. What the playlists list is second: a list that is late (a machine that stalls handles it long after it came,
 * a starved encoder makes pictures later than sound) makes the newest moment look older than what is on screen already.
 */

/** Seconds that two clocks may disagree about, beyond which PROGRAM-DATE-TIME is not the server's time of now. */
const MOST_BEFORE = 1
const MOST_BEHIND = 60

/** Between two samples of the clock that differ by more than this (ms), one of the clocks was set. */
const CLOCK_SET = 1000

/**
 * @param playing Unix ms of the event's clock at the position, null when unknown
 * @param serverNow Unix ms on the server's clock
 * @param listed seconds behind the newest listed moment, null when unknown
 */
export function liveLatency(playing: number | null, serverNow: number, listed: number | null): number | null {
  if (playing !== null) {
    const behind = (serverNow - playing) / 1000
    // What is listed bounds it from below; another clock altogether is an archive's, or a computer's that is set wrong.
    if (behind >= Math.max(0, (listed ?? 0) - MOST_BEFORE) && behind <= (listed ?? 0) + MOST_BEHIND) return behind
  }
  return listed
}

/**
 * The better of two offsets "server's clock less ours". A message that travels or waits to be handled makes its sample
 * too small, never too large, so the largest is the truest, until one of the clocks is set.
 */
export function betterOffset(known: number | null, sample: number): number {
  return known !== null && Math.abs(sample - known) < CLOCK_SET ? Math.max(known, sample) : sample
}
