import type { EngineEvents, EngineOptions, LiveWindow, MediaEngine } from './engine'
import type { Level, Track } from './tracks'

/** What Safari and its kind add to a media element; other browsers leave these out. */
interface NativeAudioTrack {
  label: string
  language: string
  enabled: boolean
}
interface NativeAudioTrackList extends EventTarget {
  readonly length: number
  [index: number]: NativeAudioTrack
}
type NativeVideo = HTMLVideoElement & { audioTracks?: NativeAudioTrackList; getStartDate?: () => Date }

/** Hold-back assumed where the browser does not tell: three segments. */
const ASSUMED_HOLD_BACK = 6

/** The browser's own HLS, where there is no MSE (older iPhones). It keeps its own counsel on quality. */
export class NativeEngine implements MediaEngine {
  readonly kind = 'native'
  readonly paced = false
  ready = false
  readonly #video: NativeVideo
  readonly #ends = new AbortController()

  static supported(video: HTMLVideoElement): boolean {
    return video.canPlayType('application/vnd.apple.mpegurl') !== ''
  }

  constructor(
    video: HTMLVideoElement,
    private readonly options: EngineOptions,
    private readonly events: EngineEvents,
  ) {
    this.#video = video
  }

  load(): void {
    const { signal } = this.#ends
    const video = this.#video
    video.addEventListener(
      'loadedmetadata',
      () => {
        this.ready = true
        const audio = this.options.chooseAudio(this.audioTracks())
        if (audio >= 0) this.setAudioTrack(audio)
        this.setCaptionTrack(this.options.chooseCaptions(this.captionTracks()))
        this.events.onReady()
      },
      { signal },
    )
    const tracks = () => this.events.onTracks()
    video.audioTracks?.addEventListener('change', tracks, { signal })
    video.audioTracks?.addEventListener('addtrack', tracks, { signal })
    video.textTracks.addEventListener('addtrack', tracks, { signal })
    video.addEventListener(
      'error',
      () => {
        const error = video.error
        // A source that cannot be had and one that cannot be read are told apart by nothing: both are tried again.
        const network = error?.code !== MediaError.MEDIA_ERR_DECODE
        this.events.onFatal({
          code: network ? 'network' : 'media',
          detail: error?.message || `media error ${error?.code ?? ''}`,
          httpStatus: null,
        })
      },
      { signal },
    )
    video.addEventListener('progress', () => this.events.onActivity(), { signal })
    video.src = this.options.url
    video.load()
  }

  destroy(): void {
    this.#ends.abort()
    this.#video.removeAttribute('src')
    this.#video.load()
  }

  /** The browser loads by itself or has given up for good: only loading anew helps. */
  resumeLoading(): void {
    this.#video.src = this.options.url
    this.#video.load()
  }

  /** The browser sees to it. */
  moveOn(): boolean {
    return false
  }

  recoverMedia(): void {
    this.resumeLoading()
  }

  levels(): Level[] {
    return []
  }

  level(): number {
    return -1
  }

  currentLevel(): number {
    return -1
  }

  setLevel(): void {
    // Not offered: `levels()` is empty.
  }

  audioTracks(): Track[] {
    return Array.from({ length: this.#video.audioTracks?.length ?? 0 }, (_, index) => {
      const track = this.#video.audioTracks?.[index]
      return {
        index,
        name: track?.label || track?.language || String(index + 1),
        language: track?.language ?? '',
        isDefault: track?.enabled ?? false,
      }
    })
  }

  audioTrack(): number {
    return this.audioTracks().findIndex((_, index) => this.#video.audioTracks?.[index]?.enabled)
  }

  setAudioTrack(index: number): void {
    const list = this.#video.audioTracks
    for (let i = 0; i < (list?.length ?? 0); i += 1) {
      const track = list?.[i]
      if (track) track.enabled = i === index
    }
    this.events.onTracks()
  }

  captionTracks(): Track[] {
    return this.#captions().map((track, index) => ({
      index,
      name: track.label || track.language || String(index + 1),
      language: track.language,
      isDefault: false,
    }))
  }

  captionTrack(): number {
    return this.#captions().findIndex((track) => track.mode !== 'disabled')
  }

  setCaptionTrack(index: number): void {
    this.#captions().forEach((track, i) => {
      track.mode = i === index ? 'hidden' : 'disabled'
    })
    this.events.onTracks()
  }

  setMostHeight(): void {
    // The browser chooses by itself, and sees its own decoder.
  }

  bandwidth(): null {
    return null
  }

  holdBack(): null {
    return null
  }

  setHoldBack(): void {
    // Nor does it say how far behind it stays.
  }

  liveWindow(): LiveWindow | null {
    const { seekable } = this.#video
    if (seekable.length === 0) return null
    const edge = seekable.end(seekable.length - 1)
    const start = seekable.start(0)
    return { start, edge, target: Math.max(start, edge - ASSUMED_HOLD_BACK) }
  }

  latency(): number | null {
    const window = this.liveWindow()
    return window && Math.max(0, window.edge - this.#video.currentTime)
  }

  playingDate(): Date | null {
    const start = this.#video.getStartDate?.()
    return start && Number.isFinite(start.getTime()) ? new Date(start.getTime() + this.#video.currentTime * 1000) : null
  }

  #captions(): TextTrack[] {
    return [...this.#video.textTracks].filter((track) => track.kind === 'subtitles' || track.kind === 'captions')
  }
}
