/** How old the programme is where it is seen and heard. */

/** Longer than any buffer that a browser keeps, ms. */
const OLDEST = 5000

/** How old the pictures of a room are when they are shown, as the browser tells of each. */
export class PictureAge {
  #sum = 0
  #shown = 0

  /**
   * Watches an element until the function that this gives is called. A browser that does not tell leaves `take` without
   * an answer, and so does a page that nobody sees.
   */
  watch(video: HTMLVideoElement): () => void {
    if (!('requestVideoFrameCallback' in video)) return () => undefined
    const shown: VideoFrameRequestCallback = (_, frame) => {
      if (frame.receiveTime !== undefined) this.note(frame.presentationTime - frame.receiveTime)
      handle = video.requestVideoFrameCallback(shown)
    }
    let handle = video.requestVideoFrameCallback(shown)
    return () => video.cancelVideoFrameCallback(handle)
  }

  /** @param age of a picture that was shown, ms */
  note(age: number): void {
    if (!(age >= 0 && age < OLDEST)) return
    this.#sum += age
    this.#shown += 1
  }

  /** Average ms since this was last asked; null when no picture was shown. */
  take(): number | null {
    const age = this.#shown === 0 ? null : this.#sum / this.#shown
    this.#sum = 0
    this.#shown = 0
    return age
  }
}

/** Further than this from its sound no picture moves what is played, ms: what is interpreted is the sound. */
const MOST_APART = 50

/**
 * How old the programme is when its sound is heard and its picture is seen, ms. Browsers let the two be some 50 ms apart;
 * an interpreter follows both, and half way between them is nearest to both.
 * @param buffered ms that the sound was in the browser's buffer, null when there was none
 * @param output ms from there to the ear
 * @param picture age of what is seen, ms, null where there is no picture
 */
export function playedAge(buffered: number | null, output: number, picture: number | null): number | null {
  if (buffered === null) return null
  const sound = buffered + output
  if (picture === null) return sound
  return sound + Math.min(MOST_APART, Math.max(-MOST_APART, (picture - sound) / 2))
}
