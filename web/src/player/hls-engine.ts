import Hls, { type ErrorData, type HlsConfig, type LoadPolicy, type MediaPlaylist } from 'hls.js'
import workerPath from 'hls.js/dist/hls.worker.js?url'
import type { EngineError, EngineEvents, EngineOptions, LiveWindow, MediaEngine } from './engine'
import type { Level, Track } from './tracks'

/**
 * Retries that hls.js makes by itself before `core` is asked. Its own rule never retries a refused connection (status 0
 * while the network is up), which is exactly what a restarting daemon looks like. A 4xx is an answer, not a failure: a
 * status change or a part that is no longer kept, so it is handed on at once.
 */
function policy(attempts: number, firstByteMs: number): LoadPolicy {
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
          return retry != null && count < retry.maxNumRetry && !(status >= 400 && status < 500)
        },
      },
    },
  }
}

/** Tuned for parts of 0.32 s (0.53 s at 30 and 60 fps) with a hold-back of about three of them. */
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
  // Speech at 1.06 times its speed is not noticed; it takes back a one second stall in 17 s.
  maxLiveSyncPlaybackRate: 1.06,
  // One part more of distance for each stall, at most one target duration (hls.js' own cap).
  liveSyncOnStallIncrease: 0.32,
  // Blocking reloads and parts arrive as they are made; without an estimate, begin at a rung most lines carry.
  abrEwmaDefaultEstimate: 3_000_000,
  testBandwidth: false,
  capLevelToPlayerSize: true,
  // A rung that failed once may be tried again: a passing error must not cost quality for the whole event.
  errorPenaltyExpireMs: 10_000,
  manifestLoadPolicy: policy(0, 8000),
  // A blocking reload is answered within three target durations by the specification (RFC 8216bis, 6.2.5.2).
  playlistLoadPolicy: policy(6, 8000),
  fragLoadPolicy: policy(4, 8000),
  enableInterstitialPlayback: false,
  enableDateRangeMetadataCues: false,
  enableEmsgMetadataCues: false,
  enableID3MetadataCues: false,
  enableCEA708Captions: false,
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
  ready = false
  readonly hls: Hls
  #levelHeight: number | null
  #destroyed = false

  static supported(): boolean {
    return Hls.isSupported()
  }

  constructor(
    private readonly video: HTMLVideoElement,
    private readonly options: EngineOptions,
    private readonly events: EngineEvents,
  ) {
    this.#levelHeight = options.height
    this.hls = new Hls(CONFIG)
    // Our own overlay shows the captions: the browser's would lie under the controls and ignore the page's look.
    this.hls.subtitleDisplay = false
    this.#listen()
  }

  load(): void {
    this.hls.attachMedia(this.video)
    this.hls.loadSource(this.options.url)
  }

  destroy(): void {
    this.#destroyed = true
    this.hls.destroy()
  }

  resumeLoading(): void {
    this.hls.startLoad()
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

  liveWindow(): LiveWindow | null {
    const details = this.hls.latestLevelDetails
    if (!details || details.fragments.length === 0) return null
    const edge = details.edge
    return { start: details.fragmentStart, edge, target: this.hls.liveSyncPosition ?? edge }
  }

  latency(): number | null {
    return this.hls.latestLevelDetails ? this.hls.latency : null
  }

  playingDate(): Date | null {
    return this.hls.playingDate
  }

  #listen(): void {
    const { hls, events, options } = this
    const tracks = () => events.onTracks()
    hls.on(Hls.Events.MANIFEST_PARSED, () => {
      if (this.#levelHeight !== null) {
        const index = hls.levels.findIndex((level) => level.height === this.#levelHeight)
        if (index >= 0) hls.nextLevel = index
      }
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
    hls.on(Hls.Events.LEVELS_UPDATED, tracks)
    hls.on(Hls.Events.ERROR, (_name, data) => {
      const error = describe(data)
      if (data.fatal) events.onFatal(error)
      else events.onTrouble(error)
    })
  }
}
