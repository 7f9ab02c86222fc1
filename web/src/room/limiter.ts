/**
 * Protects ears: what comes out never exceeds the ceiling, and a sudden loud sound (a dropped microphone, feedback, a
 * connector) rises only as fast as an ear can pull away. Pure; `limiter.worklet.ts` runs it in the audio thread.
 *
 * Two bounds on the peak, the lower counts:
 * - the *ceiling*;
 * - *allowance*: `HEADROOM_DB` above a slow measure of how loud it was, which rises at `RISE_DB_PER_SECOND`, falls at
 *   `FALL_DB_PER_SECOND` and stays above `FLOOR_DB`, so that speech after silence is not touched.
 *
 * The gain falls within the look-ahead, before the peak that asks for it is heard, and recovers slowly.
 */

/** dB relative to full scale. */
export const CEILING_DB = -3
export const FLOOR_DB = -26
export const HEADROOM_DB = 14
export const RISE_DB_PER_SECOND = 30
export const FALL_DB_PER_SECOND = 6
/** Seconds of delay, in which the gain comes down without a click. */
export const LOOK_AHEAD = 0.002
/** Seconds until most of the gain is back. */
export const RECOVERY = 0.12

const linear = (db: number): number => 10 ** (db / 20)
const decibels = (value: number): number => 20 * Math.log10(Math.max(value, 1e-9))

const FLOOR = linear(FLOOR_DB)
const HEADROOM = linear(HEADROOM_DB)

export class Limiter {
  readonly lookAhead: number
  readonly #lines: Float32Array[]
  /** Gain that each sample in the delay line asks for. */
  readonly #asked: Float32Array
  /**
   * The samples that can still be the lowest of the line, lowest first: positions in a ring, so that the lowest is known
   * without looking at all of them.
   */
  readonly #queue: Int32Array
  #head = 0
  #queued = 0
  /** Factors per sample. */
  readonly #rise: number
  readonly #fall: number
  readonly #recover: number
  #at = 0
  #gain = 1
  /** Change of the gain per sample on its way down, 0 or less. */
  #slope = 0
  /** The slow measure: linear, as all that runs once per sample. */
  #level = FLOOR
  /** Lowest gain since it was asked for last. */
  #lowest = 1

  constructor(
    sampleRate: number,
    channels: number,
    private readonly ceiling = linear(CEILING_DB),
  ) {
    this.lookAhead = Math.max(1, Math.round(sampleRate * LOOK_AHEAD))
    this.#lines = Array.from({ length: channels }, () => new Float32Array(this.lookAhead))
    this.#asked = new Float32Array(this.lookAhead).fill(1)
    this.#queue = new Int32Array(this.lookAhead)
    this.#rise = linear(RISE_DB_PER_SECOND / sampleRate)
    this.#fall = linear(-FALL_DB_PER_SECOND / sampleRate)
    this.#recover = 1 - Math.exp(-1 / (RECOVERY * sampleRate))
  }

  /** Attenuation in dB (0 or more) at its most since the last call. */
  takeReduction(): number {
    const reduction = -decibels(this.#lowest)
    this.#lowest = 1
    return reduction
  }

  /** @param input and @param output one array per channel, of one length */
  process(input: readonly Float32Array[], output: readonly Float32Array[]): void {
    const length = output[0]?.length ?? 0
    for (let i = 0; i < length; i += 1) {
      let peak = 0
      for (let c = 0; c < this.#lines.length; c += 1) {
        const sample = input[c]?.[i] ?? 0
        // What is no number is silence, and must not stay in the measure.
        if (Number.isFinite(sample)) peak = Math.max(peak, Math.abs(sample))
      }
      const bound = Math.min(this.ceiling, this.#level * HEADROOM)
      this.#level = peak > this.#level ? this.#level * this.#rise : Math.max(FLOOR, this.#level * this.#fall)
      this.#follow(peak > bound ? bound / peak : 1)
      for (let c = 0; c < output.length; c += 1) {
        const line = this.#lines[c]
        const out = output[c]
        if (!line || !out) continue
        const delayed = line[this.#at] ?? 0
        const sample = input[c]?.[i] ?? 0
        line[this.#at] = Number.isFinite(sample) ? sample : 0
        out[i] = delayed * this.#gain
      }
      this.#at = (this.#at + 1) % this.lookAhead
    }
  }

  /**
   * Brings the gain to what each sample in the delay line asks for by the time it leaves: along a straight line, the
   * steepest that any of them needs, and no lower than the lowest of them.
   *
   * @param asked what the sample that comes in now asks for
   */
  #follow(asked: number): void {
    const { lookAhead } = this
    const queue = this.#queue
    const line = this.#asked
    const at = this.#at
    const leaving = line[at] ?? 1
    if (this.#queued > 0 && queue[this.#head] === at) {
      this.#head = (this.#head + 1) % lookAhead
      this.#queued -= 1
    }
    line[at] = asked
    while (this.#queued > 0 && (line[queue[(this.#head + this.#queued - 1) % lookAhead] ?? 0] ?? 1) >= asked) this.#queued -= 1
    queue[(this.#head + this.#queued) % lookAhead] = at
    this.#queued += 1
    const lowest = line[queue[this.#head] ?? 0] ?? 1

    if (asked < this.#gain) this.#slope = Math.min(this.#slope, (asked - this.#gain) / lookAhead)
    if (this.#gain > lowest) {
      this.#gain = Math.max(lowest, this.#gain + this.#slope)
    } else {
      this.#slope = 0
      this.#gain = Math.min(lowest, this.#gain + (1 - this.#gain) * this.#recover)
    }
    // Sums of steps end a rounding away from where they lead.
    this.#gain = Math.min(this.#gain, leaving)
    if (this.#gain < this.#lowest) this.#lowest = this.#gain
  }
}
