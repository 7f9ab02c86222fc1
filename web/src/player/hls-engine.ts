import Hls, { type ErrorData, type HlsConfig, type Level as HlsLevel, type LoadPolicy, type MediaPlaylist } from 'hls.js'
import workerPath from 'hls.js/dist/hls.worker.js?url'
import { PictureStream, SoundStream } from './eviction'
import type { EngineError, EngineEvents, EngineOptions, LiveWindow, MediaEngine } from './engine'
import { capFor, firstEstimate, type Line } from './rungs'
import type { Level, Track } from './tracks'

/**
 * Retries that hls.js makes by itself before `playback` has to. Its own rule never retries a refused connection (status 0
 * while the network is up), which is exactly what a restarting daemon looks like. A 4xx for media is an answer, not a
 * failure: a part that is no longer kept. A 4xx for a playlist is `playback`'s to find out about (it hears of it at
 * once), while hls.js goes on with what is listed already. Where the playlist names other servers, trying again is for
 * a lost packet: what is left to play is no longer than going on elsewhere takes.
 */
function policy(attempts: number, firstByteMs: number, elsewhere: () => boolean, refused = 0): LoadPolicy {
  return {
    default: {
      maxTimeToFirstByteMs: firstByteMs,
      maxLoadTimeMs: 20_000,
      timeoutRetry: { maxNumRetry: 2, retryDelayMs: 0, maxRetryDelayMs: 0 },
      errorRetry: {
        maxNumRetry: attempts,
        retryDelayMs: 400,
        maxRetryDelayMs: 1500,
        shouldRetry: (retry, count, _isTimeout, response) => {
          const status = response?.code ?? 0
          const most = status >= 400 && status < 500 ? refused : elsewhere() ? 1 : (retry?.maxNumRetry ?? 0)
          return retry != null && count < most
        },
      },
    },
  }
}

/**
 * hls.js (1.7.4, `waitForLive`) fetches no captions while their list ends before the position, and looks again when the
 * list was loaded anew. That suits pictures and sound. Captions may come in whole segments or be written after what was
 * said, so near the live edge their list can end before the position for ever: it is loaded anew once per segment, each
 * time as long after its newest one came. Its last segments hold what is to be shown, and what is late is better late
 * than never. Only a list of long ago is still waited for.
 */
class CaptionStream extends Hls.DefaultConfig.subtitleStreamController! {
  protected override waitForLive(track: HlsLevel): boolean {
    return track.details?.expired === true && super.waitForLive(track) === true
  }
}

/** Tuned for parts of 0.32 s (0.53 s at 30 and 60 fps) with a hold-back of about three of them. Pace and rungs are ours. */
const CONFIG: Partial<HlsConfig> = {
  lowLatencyMode: true,
  // The worker is a file of ours: one made from a blob would need `worker-src blob:`.
  enableWorker: true,
  workerPath,
  // A live stream is watched at its edge; what lies behind is fetched again on a seek into the DVR window.
  backBufferLength: 30,
  maxBufferLength: 30,
  maxMaxBufferLength: 60,
  maxBufferSize: 40 * 1000 * 1000,
  liveDurationInfinity: true,
  // `pace` keeps the distance, in both directions and from one engine to the next.
  maxLiveSyncPlaybackRate: 1,
  liveSyncOnStallIncrease: 0,
  testBandwidth: false,
  // `rungs` caps: hls.js empties the buffer on a change of size, and never lifts a cap for dropped pictures.
  capLevelToPlayerSize: false,
  capLevelOnFPSDrop: false,
  // A rung that failed once may be tried again: a passing error must not cost quality for the whole event.
  errorPenaltyExpireMs: 10_000,
  enableInterstitialPlayback: false,
  enableDateRangeMetadataCues: false,
  enableEmsgMetadataCues: false,
  enableID3MetadataCues: false,
  enableCEA708Captions: false,
  streamController: PictureStream,
  audioStreamController: SoundStream,
  subtitleStreamController: CaptionStream,
}

function describe(data: ErrorData): EngineError {
  const httpStatus = data.response?.code ?? null
  const reason = data.error?.message || data.reason || ''
  const detail = [data.details, httpStatus ? `HTTP ${httpStatus}` : '', reason].filter(Boolean).join(': ')
  const unsupported =
    data.details === Hls.ErrorDetails.MANIFEST_INCOMPATIBLE_CODECS_ERROR ||
    data.details === Hls.ErrorDetails.BUFFER_INCOMPATIBLE_CODECS_ERROR
  const code = unsupported ? 'unsupported' : data.type === Hls.ErrorTypes.NETWORK_ERROR ? 'network' : 'media'
  return { code, detail, httpStatus: httpStatus || null }
}

const toTrack = (track: MediaPlaylist, index: number): Track => ({
  index,
  name: track.name || track.lang || String(index + 1),
  language: track.lang ?? '',
  isDefault: track.default,
})

export class HlsEngine implements MediaEngine {
  readonly kind = 'hls.js'
  readonly paced = true
  ready = false
  readonly hls: Hls
  #levelHeight: number | null
  #most: number | null = null
  /** Lines of the highest rung that the browser expects to decode without dropping pictures, null while it has not said. */
  #smooth: number | null = null
  #destroyed = false
  readonly #line = (navigator as { connection?: Line }).connection
  readonly #resized = new ResizeObserver(() => this.#cap())

  static supported(): boolean {
    return Hls.isSupported()
  }

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: EngineOptions,
    private readonly events: EngineEvents,
  ) {
    this.#levelHeight = options.height
    const elsewhere = () => this.hls.pathways.length > 1
    this.hls = new Hls({
      ...CONFIG,
      manifestLoadPolicy: policy(0, 8000, () => false),
      // A blocking reload is answered within three target durations by the specification (RFC 8216bis, 6.2.5.2).
      playlistLoadPolicy: policy(6, 8000, elsewhere, 6),
      fragLoadPolicy: policy(4, 8000, elsewhere),
      abrEwmaDefaultEstimate: firstEstimate(this.#line, options.bandwidth),
      ...(options.holdBack === null ? {} : { liveSyncDuration: options.holdBack }),
    })
    // Our own overlay shows the captions: the browser's would lie under the controls and ignore the page's look.
    this.hls.subtitleDisplay = false
    this.#listen()
  }

  load(): void {
    this.hls.attachMedia(this.video)
    this.hls.loadSource(this.options.url)
    this.#resized.observe(this.video)
  }

  destroy(): void {
    this.#destroyed = true
    this.#resized.disconnect()
    this.hls.destroy()
  }

  resumeLoading(): void {
    this.hls.startLoad()
  }

  moveOn(): boolean {
    const { hls } = this
    const here = this.pathway()
    const others = hls.pathways.filter((pathway) => pathway !== here)
    if (here === null || others.length === 0) return false
    hls.pathwayPriority = [...others, here]
    return this.pathway() !== here
  }

  /** The server that it plays from, by the playlist's name for it; null when it has none. */
  pathway(): string | null {
    return this.hls.levels[this.hls.loadLevel]?.attrs['PATHWAY-ID'] ?? null
  }

  recoverMedia(): void {
    this.hls.recoverMediaError()
  }

  levels(): Level[] {
    return this.hls.levels.map((level, index) => ({
      index,
      height: level.height || 0,
      width: level.width || 0,
      bitrate: level.bitrate || 0,
      frameRate: level.frameRate || 0,
      source: /\/source\/[^/]*$/.test(level.uri.split('?')[0] ?? ''),
    }))
  }

  level(): number {
    return this.hls.autoLevelEnabled ? -1 : this.hls.loadLevel
  }

  currentLevel(): number {
    return this.hls.currentLevel >= 0 ? this.hls.currentLevel : this.hls.loadLevel
  }

  setLevel(index: number): void {
    // What is playing plays on; the buffer after the next segment is replaced.
    this.hls.nextLevel = index
    this.#levelHeight = index < 0 ? null : (this.hls.levels[index]?.height ?? null)
    this.events.onTracks()
  }

  audioTracks(): Track[] {
    return this.hls.audioTracks.map(toTrack)
  }

  audioTrack(): number {
    return this.hls.audioTrack
  }

  setAudioTrack(index: number): void {
    this.hls.audioTrack = index
  }

  captionTracks(): Track[] {
    return this.hls.subtitleTracks.map(toTrack)
  }

  captionTrack(): number {
    return this.hls.subtitleTrack
  }

  setCaptionTrack(index: number): void {
    this.hls.subtitleTrack = index
  }

  setMostHeight(height: number | null): void {
    if (height === this.#most) return
    this.#most = height
    this.#cap()
  }

  bandwidth(): number | null {
    const measured = this.hls.bandwidthEstimate
    return Number.isFinite(measured) && measured > 0 ? measured : null
  }

  liveWindow(): LiveWindow | null {
    const details = this.hls.latestLevelDetails
    if (!details || details.fragments.length === 0) return null
    const edge = details.edge
    return { start: details.fragmentStart, edge, target: this.hls.liveSyncPosition ?? edge }
  }

  holdBack(): number | null {
    const details = this.hls.latestLevelDetails
    return details ? details.partHoldBack || details.holdBack || 3 * details.targetduration : null
  }

  setHoldBack(seconds: number): void {
    if (this.hls.targetLatency !== seconds) this.hls.targetLatency = seconds
  }

  latency(): number | null {
    const video = this.hls.latestLevelDetails
    if (!video) return null
    // Sound can be listed before pictures: the encoder of pictures may be late, and the position passes their last one.
    const sound = this.hls.audioTracks[this.hls.audioTrack]?.details
    const newest = Math.max(...[video, sound].map((list) => (list ? list.edge + list.age : 0)))
    return Math.max(0, newest - this.video.currentTime)
  }

  playingDate(): Date | null {
    // hls.js's own takes the piece that played last, which is another one after a seek or a stall.
    const at = this.video.currentTime
    const fragments = this.hls.latestLevelDetails?.fragments ?? []
    const playing = fragments.find((fragment) => at < fragment.end) ?? fragments.at(-1)
    if (!playing?.programDateTime || at < playing.start - 1) return null
    return new Date(playing.programDateTime + (at - playing.start) * 1000)
  }

  #cap(): void {
    if (this.#destroyed || this.hls.levels.length === 0) return
    const { clientWidth: width, clientHeight: height } = this.video
    const screen = { width, height, ratio: devicePixelRatio }
    const most = Math.min(this.#most ?? Infinity, this.#smooth ?? Infinity)
    this.hls.autoLevelCapping = capFor(this.levels(), screen, most, this.#line?.saveData === true)
  }

  /** Browsers remember how they fared with a codec and size, so a machine that stuttered before begins lower. */
  async #askDecoder(): Promise<void> {
    const answers = await Promise.all(
      this.hls.levels.map(async ({ width, height, bitrate, frameRate, videoCodec }) => {
        if (!videoCodec || !width || !height) return null
        const contentType = `video/mp4; codecs="${videoCodec}"`
        const video = { contentType, width, height, bitrate, framerate: frameRate || 30 }
        const { smooth } = await navigator.mediaCapabilities.decodingInfo({ type: 'media-source', video })
        return { height, smooth }
      }),
    )
    const known = answers.filter((answer) => answer !== null)
    if (known.every((answer) => answer.smooth)) return
    // None at all: then the lowest there is, which a limit of nothing gives.
    this.#smooth = Math.max(0, ...known.filter((answer) => answer.smooth).map((answer) => answer.height))
    this.#cap()
  }

  #listen(): void {
    const { hls, events, options } = this
    const tracks = () => events.onTracks()
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      if (this.#levelHeight !== null) {
        const index = hls.levels.findIndex((level) => level.height === this.#levelHeight)
        if (index >= 0) hls.nextLevel = index
      }
      this.#cap()
      // Without an answer (an old browser, or a codec it cannot name) what is dropped while it plays will tell.
      this.#askDecoder().catch(() => undefined)
      this.ready = true
      events.onReady()
    })
    // The tracks offered change with the level's groups; the choice is made anew for each offer.
    hls.on(Hls.Events.AUDIO_TRACKS_UPDATED, () => {
      const list = this.audioTracks()
      const index = options.chooseAudio(list)
      if (index >= 0 && index !== hls.audioTrack) hls.audioTrack = index
      events.onTracks()
    })
    hls.on(Hls.Events.SUBTITLE_TRACKS_UPDATED, () => {
      // hls.js makes its own choice right after this event; ours comes after that.
      queueMicrotask(() => {
        if (this.#destroyed) return
        hls.subtitleTrack = options.chooseCaptions(this.captionTracks())
        events.onTracks()
      })
    })
    const activity = () => events.onActivity()
    hls.on(Hls.Events.LEVEL_LOADED, activity)
    hls.on(Hls.Events.FRAG_LOADED, activity)
    hls.on(Hls.Events.BUFFER_APPENDED, activity)
    hls.on(Hls.Events.AUDIO_TRACK_SWITCHED, tracks)
    hls.on(Hls.Events.SUBTITLE_TRACK_SWITCH, tracks)
    hls.on(Hls.Events.LEVEL_SWITCHED, tracks)
    hls.on(Hls.Events.LEVELS_UPDATED, () => {
      this.#cap()
      tracks()
    })
    hls.on(Hls.Events.ERROR, (_name, data) => {
      const error = describe(data)
      if (data.fatal) events.onFatal(error)
      else events.onTrouble(error)
    })
  }
}
