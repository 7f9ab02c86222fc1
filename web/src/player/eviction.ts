/**
 * hls.js (1.7.4, `detectEvictedFragments`) looks for what left the buffer as soon as what lies behind was flushed, and takes
 * the segment at the live edge for gone when one of its parts was loaded and is not appended yet. It then takes the parts
 * before for not loaded, finds nothing to go on with at the segment's end, and stands still until the next one is whole:
 * two seconds, every few minutes. Here what left the buffer is looked for when nothing is on its way into it.
 */
import Hls, { type Bufferable, type SourceBufferName } from 'hls.js'

type Flushed = [media: Bufferable, type: SourceBufferName]

/** What was flushed while something was on its way into the buffer: the last of each type. */
class Later {
  readonly #flushed = new Map<SourceBufferName, Flushed>()

  /** @param look looks for what left the buffer: at once, or at the first tick that finds nothing on its way */
  flushed(flushed: Flushed, look: (...flushed: Flushed) => void, appending: boolean): void {
    if (appending) this.#flushed.set(flushed[1], flushed)
    else look(...flushed)
  }

  tick(look: (...flushed: Flushed) => void, appending: boolean): void {
    if (appending || this.#flushed.size === 0) return
    for (const flushed of this.#flushed.values()) look(...flushed)
    this.#flushed.clear()
  }
}

export class PictureStream extends Hls.DefaultConfig.streamController {
  readonly #later = new Later()

  protected override afterBufferFlushed(...flushed: Flushed): void {
    this.#later.flushed(flushed, (...all) => super.afterBufferFlushed(...all), this.#appending())
  }

  protected override doTick(): void {
    this.#later.tick((...all) => super.afterBufferFlushed(...all), this.#appending())
    super.doTick()
  }

  #appending(): boolean {
    return this.fragCurrent !== null && this.fragmentTracker.getState(this.fragCurrent) === 'APPENDING'
  }
}

/** The same for sound; hls.js exports no base of both. */
export class SoundStream extends Hls.DefaultConfig.audioStreamController! {
  readonly #later = new Later()

  protected override afterBufferFlushed(...flushed: Flushed): void {
    this.#later.flushed(flushed, (...all) => super.afterBufferFlushed(...all), this.#appending())
  }

  override doTick(): void {
    this.#later.tick((...all) => super.afterBufferFlushed(...all), this.#appending())
    super.doTick()
  }

  #appending(): boolean {
    return this.fragCurrent !== null && this.fragmentTracker.getState(this.fragCurrent) === 'APPENDING'
  }
}
