/**
 * Which rungs of the ladder automatic quality may use: no more than the player's size shows, and no more than this
 * machine decodes. How much the line carries is hls.js's business. Pure: `playback` samples, the engine carries it out.
 */
import type { Level } from './tracks'

/** What a look at the decoder gives; both counters only grow while one stream plays. */
export interface DecoderSample {
  /** Monotonic milliseconds. */
  now: number
  /** Pictures decoded, those dropped included (`VideoPlaybackQuality.totalVideoFrames`). */
  frames: number
  dropped: number
  /** Lines of the rung on screen, 0 when unknown. */
  height: number
}

/** What is looked at, in ms, and how many pictures it must hold to be judged. */
const SPAN = 4000
const ENOUGH = 30
/** So many of the pictures may be dropped; a fifth is seen as stutter. */
const MOST_DROPPED = 0.2
/** A change of rung needs time to show its effect (ms). */
const SETTLE = 4000
/** Stalls within this time (ms) count together: two of them, or one with media in hand, are the machine's or the line's. */
const TOGETHER = 20_000
/** After so long without strain (ms) the next higher rung is tried; doubled each time that fails, up to the most. */
const TRY_AGAIN = 60_000
const TRY_AGAIN_MOST = 960_000

/** Keeps automatic quality from rungs that this machine has failed at. */
export class Strain {
  #most: number | null = null
  #samples: DecoderSample[] = []
  #stalls: number[] = []
  #changed = -Infinity
  #tryAgain = TRY_AGAIN
  #tryAt = Infinity

  /** Lines that the rungs used must not exceed, null for any. */
  get most(): number | null {
    return this.#most
  }

  /** Another stream or element: its counters begin anew. */
  restart(): void {
    this.#samples = []
  }

  /**
   * Takes a sample while it plays and is visible (browsers drop pictures of hidden pages on purpose).
   *
   * @param heights lines of the rungs there are
   */
  sample(sample: DecoderSample, heights: readonly number[]): void {
    const last = this.#samples.at(-1)
    // Counters that went back or another rung on screen: what came before says nothing about it.
    if (last && (sample.frames < last.frames || sample.height !== last.height)) this.#samples = []
    this.#samples.push(sample)
    while (this.#samples.length > 1 && sample.now - (this.#samples[0]?.now ?? 0) > SPAN) this.#samples.shift()
    const first = this.#samples[0] ?? sample
    const frames = sample.frames - first.frames
    if (frames >= ENOUGH && sample.dropped - first.dropped > frames * MOST_DROPPED) this.#lower(sample.height, heights, sample.now)
    else if (this.#most !== null && sample.now >= this.#tryAt) this.#raise(heights, sample.now)
  }

  /** Playback stood still. @param ahead seconds that it held then */
  stalled(ahead: number, height: number, heights: readonly number[], now: number): void {
    this.#stalls = this.#stalls.filter((at) => now - at < TOGETHER)
    this.#stalls.push(now)
    // With media in hand it was not for want of it: the decoder did not keep up.
    if (ahead > 0.5 || this.#stalls.length > 1) this.#lower(height, heights, now)
  }

  #lower(height: number, heights: readonly number[], now: number): void {
    if (height <= 0 || now - this.#changed < SETTLE) return
    const lower = Math.max(0, ...heights.filter((one) => one > 0 && one < height))
    // Strain on the lowest rung changes nothing, but it is no time to try a higher one.
    if (lower > 0) {
      // Lowered from what had been tried again: the next try comes later.
      if (this.#most !== null || this.#changed > -Infinity) this.#tryAgain = Math.min(TRY_AGAIN_MOST, this.#tryAgain * 2)
      this.#most = lower
      this.#changed = now
    }
    this.#samples = []
    this.#stalls = []
    if (this.#most !== null) this.#tryAt = now + this.#tryAgain
  }

  #raise(heights: readonly number[], now: number): void {
    const most = this.#most ?? 0
    const higher = heights.filter((one) => one > most)
    const next = Math.min(...higher)
    // At the top again, nothing is kept from it.
    this.#most = higher.some((one) => one > next) ? next : null
    this.#changed = now
    this.#tryAt = now + this.#tryAgain
  }
}

export interface Screen {
  /** CSS pixels of the player. */
  width: number
  height: number
  /** Device pixels in one of them. */
  ratio: number
}

/** Above this, more device pixels are not seen in moving pictures; phones have three and more. */
const MOST_RATIO = 2
/** What a viewer who asked the browser to save data gets at most by itself, in lines. */
const SAVING = 480

/**
 * The highest level that automatic quality may use, -1 for any: the smallest that fills the player, none above what the
 * machine decodes, and the lowest there is when all are too high.
 *
 * @param most lines that this machine decodes, Infinity when nothing is known against any
 */
export function capFor(levels: readonly Level[], screen: Screen, most: number, saveData: boolean): number {
  const video = levels.filter((level) => level.height > 0).sort((a, b) => a.height - b.height || a.bitrate - b.bitrate)
  const lowest = video[0]
  if (!lowest) return -1
  const limit = Math.min(most, saveData ? SAVING : Infinity)
  const ratio = Math.min(MOST_RATIO, screen.ratio)
  const shown = screen.width > 0 && screen.height > 0
  const fills = shown ? video.find((level) => level.width >= screen.width * ratio || level.height >= screen.height * ratio) : undefined
  const size = fills?.height ?? Infinity
  const allowed = video.filter((level) => level.height <= Math.min(size, limit))
  const best = allowed.at(-1) ?? lowest
  return best === video.at(-1) ? -1 : best.index
}

/** What `navigator.connection` tells, where there is one (Chromium, not Safari or Firefox). */
export interface Line {
  /** Mbit/s, rounded and capped at 10 by browsers. */
  downlink?: number
  saveData?: boolean
}

/** Where nothing is known: a rung that most lines carry. */
const USUAL = 3_000_000
/** Even on a bad line, the first try need not be less than sound and a small picture. */
const LEAST = 300_000

/** Bits per second to begin with. @param measured what this page has measured before, if it has */
export function firstEstimate(line: Line | undefined, measured: number | null): number {
  if (measured !== null) return Math.max(LEAST, measured)
  if (line?.downlink === undefined || line.downlink <= 0) return USUAL
  // What the browser saw lately, less what others on the line take meanwhile.
  return Math.min(USUAL, Math.max(LEAST, line.downlink * 1e6 * 0.7))
}
