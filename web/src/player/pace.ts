/**
 * How far behind the newest moment a viewer stands, and how fast it plays to stay there. Pure: `playback` tells what
 * happened and carries out the answer.
 *
 * Near the live edge there are two or three parts in hand; whatever takes longer than these to arrive or to decode is a
 * stall. A viewer who stalls stands further back from then on (a stall is worse than a second of delay), and comes
 * forward again in small steps when it has gone well for a while: soon after the first stall, ever later after others.
 */

export interface PaceInput {
  /** Seconds by which the position lies behind (positive) or before (negative) where it should be. */
  distance: number
  /** Seconds that can be played without loading. */
  ahead: number
  /** The viewer follows the live edge: did not seek back. */
  following: boolean
}

/** The least that a stall moves a viewer back, in seconds: one part and a half of the longest parts. */
export const STEP_BACK = 0.5
/** Two stalls within this time (ms) move twice as far, three four times, and so on. */
const AGAIN = 30_000
/** Never further than this beyond the playlist's hold-back, in seconds: three segments. */
export const MOST_EXTRA = 6
/** Steady for this long (ms), a viewer comes forward by `STEP_FORWARD`; doubled with each stall, up to `CALM_MOST`. */
const CALM = 60_000
const CALM_MOST = 600_000
const STEP_FORWARD = 0.25
/** Between two steps forward (ms). */
const STEP_EVERY = 10_000
/**
 * A stall within this time (ms) of the first picture is the start's own (decoders and connections warm up, the bandwidth
 * is a guess): it says little about what is to come, so the viewer comes forward after `CALM_START`, by larger steps.
 */
const STARTING = 10_000
const CALM_START = 8_000

/** Speech is not heard to be this much faster or slower; it makes up for a second in 17 s. */
export const FASTER = 1.06
export const SLOWER = 0.95
/** Beyond this distance it is not made up for by playing faster: a viewer this far behind is jumped forward, or wants to be. */
const WITHIN = 3
/** Speeding up begins at the first distance and ends at the second, so that the rate does not flap. */
const FASTER_FROM = 0.25
const FASTER_UNTIL = 0.05
/** With less than this in hand (s), playing faster would only bring the next stall. */
const FASTER_NEEDS = 0.6
/** Too near the edge by the first distance, with little in hand, it plays slower until within the second. */
const SLOWER_FROM = -0.3
const SLOWER_UNTIL = -0.05
/** Whoever holds this many seconds does not need to play slower, wherever the edge is. */
const PLENTY = 2

export class Pace {
  #extra = 0
  #rate = 1
  #lastStall = -Infinity
  #step = STEP_BACK
  #calm = CALM
  #forwardAt = Infinity
  #began: number | null = null
  #stepForward = STEP_FORWARD

  /** Seconds to stay behind beyond the playlist's hold-back. */
  get extra(): number {
    return this.#extra
  }

  /** A stall that nothing but waiting has ended. @param seconds how long it took @param now monotonic milliseconds */
  stalled(seconds: number, now: number): void {
    this.#began ??= now
    if (now - this.#began < STARTING) {
      this.#forwardAt = now + CALM_START
      this.#extra = Math.min(MOST_EXTRA, this.#extra + STEP_BACK)
      this.#stepForward = STEP_BACK
      return
    }
    this.#stepForward = STEP_FORWARD
    this.#step = now - this.#lastStall < AGAIN ? this.#step * 2 : STEP_BACK
    this.#calm = Math.min(CALM_MOST, this.#lastStall === -Infinity ? CALM : this.#calm * 2)
    this.#lastStall = now
    this.#forwardAt = now + this.#calm
    this.#extra = Math.min(MOST_EXTRA, this.#extra + Math.max(this.#step, Math.min(1, seconds)))
  }

  /** The rate to play at now. @param now monotonic milliseconds */
  step(input: PaceInput, now: number): number {
    this.#began ??= now
    if (this.#extra > 0 && now >= this.#forwardAt) {
      this.#extra = Math.max(0, this.#extra - this.#stepForward)
      this.#forwardAt = now + STEP_EVERY
    }
    this.#rate = this.#rateFor(input)
    return this.#rate
  }

  #rateFor({ distance, ahead, following }: PaceInput): number {
    if (!following) return 1
    const faster = distance > (this.#rate > 1 ? FASTER_UNTIL : FASTER_FROM) && distance < WITHIN && ahead > FASTER_NEEDS
    if (faster) return FASTER
    const slower = distance < (this.#rate < 1 ? SLOWER_UNTIL : SLOWER_FROM) && ahead < PLENTY
    return slower ? SLOWER : 1
  }
}
