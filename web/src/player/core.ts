/**
 * The player without its looks: follows the event's state, decides what is shown (`machine`), keeps it playing
 * (`playback`), remembers choices (`prefs`). It publishes one `Snapshot`; pages, the JavaScript API and tests read that
 * and call the methods.
 */
import { Store } from '../store'
import { eventAddresses, type PageAddress, type PlayerOptions } from './address'
import type { EngineError, EngineOptions, MediaEngine } from './engine'
import { nextPhase, type Phase } from './machine'
import { NativeEngine } from './native-engine'
import { Playback, type PlaybackStatus } from './playback'
import { PreferenceStore } from './prefs'
import { StateSource, type Connection } from './source'
import { applyMessage, type EventState } from './state'
import { findLanguage, initialAudio, initialCaptions, type Level, type Track } from './tracks'

export interface TimeInfo {
  /** Seconds behind the newest moment; null when nothing plays. */
  latency: number | null
  /** Seconds behind where a viewer at the live edge stands; 0 at the live edge. */
  behind: number
  atLive: boolean
  /** Seconds that one can go back from the live edge. */
  window: number
  /** Unix milliseconds of the playing position on the event's clock, to the second; null when unknown. */
  date: number | null
}

export interface Snapshot {
  phase: Phase
  connection: Connection
  event: EventState | null
  playback: PlaybackStatus
  /** Autoplay is off and the viewer has not pressed play yet. */
  awaitsPlay: boolean
  /** The browser refused sound; the viewer can turn it on. */
  soundBlocked: boolean
  muted: boolean
  volume: number
  levels: readonly Level[]
  /** Picked by hand, or -1 for automatic. */
  level: number
  currentLevel: number
  audioTracks: readonly Track[]
  audioTrack: number
  captionTracks: readonly Track[]
  captionTrack: number
  cues: readonly VTTCue[]
  time: TimeInfo
  /** Whether a picture of the past stands in while the element is empty. */
  frozen: boolean
  error: EngineError | null
  /** Longer without a word from the daemon than a viewer should wonder about. */
  offline: boolean
}

/** From here on behind the live edge, the button offers the way back. */
const AT_LIVE_TOLERANCE = 3
/** A DVR window shorter than this is just the hold-back and a few segments: no seek bar. */
export const DVR_MINIMUM = 20
/** A lost connection is shown after this time; most are over before. */
const OFFLINE_AFTER = 3000
/** New tracks are loaded within this time, spread over the viewers. */
const RELOAD_SPREAD = 1500

const NO_TIME: TimeInfo = { latency: null, behind: 0, atLive: true, window: 0, date: null }

const INITIAL: Snapshot = {
  phase: 'connecting',
  connection: 'connecting',
  event: null,
  playback: 'idle',
  awaitsPlay: false,
  soundBlocked: false,
  muted: false,
  volume: 1,
  levels: [],
  level: -1,
  currentLevel: -1,
  audioTracks: [],
  audioTrack: -1,
  captionTracks: [],
  captionTrack: -1,
  cues: [],
  time: NO_TIME,
  frozen: false,
  error: null,
  offline: false,
}

/** Keeps the old list when nothing in it changed, so that nothing is drawn again for it. */
function keepEqual<T>(before: readonly T[], after: readonly T[]): readonly T[] {
  return JSON.stringify(before) === JSON.stringify(after) ? before : after
}

const tenth = (value: number): number => Math.round(value * 10) / 10

export class PlayerCore {
  readonly store = new Store<Snapshot>(INITIAL)
  readonly video: HTMLVideoElement
  readonly playback: Playback
  readonly preferences: PreferenceStore
  /** Holds the last picture while the element is emptied. */
  readonly freezeFrame: HTMLCanvasElement

  readonly #source: StateSource
  readonly #ends = new AbortController()
  #started: boolean
  #height: number | null = null
  #reloadTimer: number | null = null
  #offlineTimer: number | null = null

  constructor(
    private readonly page: PageAddress,
    readonly options: PlayerOptions,
    preferences = new PreferenceStore(),
  ) {
    this.preferences = preferences
    this.#started = options.autoplay
    const video = document.createElement('video')
    video.playsInline = true
    video.preload = 'auto'
    video.muted = options.muted
    video.volume = preferences.value.volume
    // Cast devices would need addresses and rights of their own.
    video.disableRemotePlayback = true
    this.video = video
    this.freezeFrame = document.createElement('canvas')
    this.playback = new Playback(video, {
      makeEngine: (events) => this.#makeEngine(events),
      onChange: () => this.#update(),
      onBlocked: (what) => {
        if (what === 'sound') this.store.patch({ soundBlocked: true })
        else this.store.patch({ awaitsPlay: true })
      },
      onError: (error) => {
        this.store.patch({ error })
        // A refused playlist mostly means that the status has changed and the word of it is still on its way.
        if (error?.httpStatus) this.#source.refresh()
      },
      onDrained: () => this.#decide(),
      onFreeze: (frozen) => this.#freeze(frozen),
    })
    this.#followCaptions()
    this.#source = new StateSource(
      eventAddresses(page, options.preview, null).state,
      (message) => this.#message(message),
      (connection) => this.#connection(connection),
    )
    this.store.patch({ muted: video.muted, volume: video.volume, awaitsPlay: !options.autoplay })
  }

  start(): void {
    const { signal } = this.#ends
    this.#source.start()
    // Fetched now, used when the event starts: by then the daemon may have been replaced by one with other files.
    if (this.options.engine !== 'native') import('./hls-engine').catch(() => undefined)
    addEventListener('online', () => {
      this.#source.refresh()
      this.playback.hurry()
    }, { signal })
    document.addEventListener('visibilitychange', () => {
      if (document.visibilityState === 'visible') this.#source.refresh()
    }, { signal })
  }

  destroy(): void {
    this.#ends.abort()
    this.#source.stop()
    if (this.#reloadTimer !== null) clearTimeout(this.#reloadTimer)
    if (this.#offlineTimer !== null) clearTimeout(this.#offlineTimer)
    this.playback.stop()
  }

  play(): void {
    this.#started = true
    this.store.patch({ awaitsPlay: false })
    if (this.playback.running) this.playback.play()
    else {
      this.playback.wanted = true
      this.#decide()
    }
  }

  pause(): void {
    this.playback.pause()
  }

  togglePlay(): void {
    const { playback } = this.store.value
    if (playback === 'idle' || playback === 'paused' || this.store.value.awaitsPlay) this.play()
    else this.pause()
  }

  setMuted(muted: boolean): void {
    this.video.muted = muted
    // Silence at volume 0 would look like a broken button.
    if (!muted && this.video.volume === 0) this.setVolume(0.5)
    this.store.patch({ soundBlocked: false })
    this.#update()
  }

  /** @param volume 0 to 1; anything above 0 also ends a mute. */
  setVolume(volume: number): void {
    const clamped = Math.min(1, Math.max(0, volume))
    this.video.volume = clamped
    if (clamped > 0) {
      this.video.muted = false
      this.store.patch({ soundBlocked: false })
    }
    this.preferences.set({ volume: clamped })
    this.#update()
  }

  setAudioTrack(index: number): void {
    const track = this.store.value.audioTracks.find((one) => one.index === index)
    if (!track) return
    this.preferences.set({ language: { language: track.language, name: track.name } })
    this.playback.engine?.setAudioTrack(index)
    this.#update()
  }

  /** By BCP 47 tag or name; a language that is not offered is remembered for when it is. @returns whether it is. */
  setLanguage(wish: string): boolean {
    const index = findLanguage(this.store.value.audioTracks, wish)
    if (index >= 0) this.setAudioTrack(index)
    else this.preferences.set({ language: { language: wish, name: wish } })
    return index >= 0
  }

  /** -1 switches captions off. */
  setCaptionTrack(index: number): void {
    const track = this.store.value.captionTracks.find((one) => one.index === index)
    if (!track && index >= 0) return
    this.preferences.set({ captions: track ? track.language || track.name : 'off' })
    this.playback.engine?.setCaptionTrack(index)
    this.#update()
  }

  /** By tag or name, null for off. @returns whether it could be done. */
  setCaptions(wish: string | null): boolean {
    if (wish === null || wish === 'off') {
      this.setCaptionTrack(-1)
      return true
    }
    const index = findLanguage(this.store.value.captionTracks, wish)
    if (index >= 0) this.setCaptionTrack(index)
    else this.preferences.set({ captions: wish })
    return index >= 0
  }

  /** On with the language last used, or off. */
  toggleCaptions(): void {
    const { captionTracks, captionTrack, audioTracks, audioTrack } = this.store.value
    if (captionTrack >= 0) {
      this.#lastCaptions = captionTrack
      this.setCaptionTrack(-1)
      return
    }
    const heard = audioTracks.find((track) => track.index === audioTrack)
    const same = heard ? findLanguage(captionTracks, heard.language) : -1
    const index = captionTracks.some((track) => track.index === this.#lastCaptions) ? this.#lastCaptions : same
    this.setCaptionTrack(index >= 0 ? index : (captionTracks[0]?.index ?? -1))
  }
  #lastCaptions = -1

  /** -1 is automatic. */
  setLevel(index: number): void {
    this.#height = this.store.value.levels.find((level) => level.index === index)?.height ?? null
    this.playback.engine?.setLevel(index)
    this.#update()
  }

  /** The rung of that many lines, null for automatic. @returns whether there is one. */
  setQuality(height: number | null): boolean {
    const level = height === null ? null : this.store.value.levels.find((one) => one.height === height)
    if (level === undefined) return false
    this.setLevel(level?.index ?? -1)
    return true
  }

  /** @param behind seconds behind the live edge */
  seekBehind(behind: number): void {
    const window = this.playback.engine?.liveWindow()
    if (!window) return
    this.playback.seek(window.target - Math.max(0, behind))
    this.#update()
  }

  /** @param seconds forward, or back when negative */
  seekBy(seconds: number): void {
    this.playback.seek(this.video.currentTime + seconds)
    this.#update()
  }

  goLive(): void {
    this.seekBehind(0)
    this.play()
  }

  #message(message: unknown): void {
    const previous = this.store.value.event
    const event = applyMessage(previous, message, this.page.root, Date.now())
    if (event === previous) return
    this.store.patch({ event })
    this.#decide()
    if (previous && event && event.tracksVersion !== previous.tracksVersion && this.store.value.phase === 'live') {
      this.#reloadTimer ??= window.setTimeout(() => {
        this.#reloadTimer = null
        this.playback.reload()
      }, Math.random() * RELOAD_SPREAD)
    }
  }

  #connection(connection: Connection): void {
    this.store.patch({ connection })
    if (connection === 'online') {
      if (this.#offlineTimer !== null) clearTimeout(this.#offlineTimer)
      this.#offlineTimer = null
      this.store.patch({ offline: false })
      this.playback.hurry()
    } else {
      this.#offlineTimer ??= window.setTimeout(() => this.store.patch({ offline: true }), OFFLINE_AFTER)
    }
    this.#decide()
  }

  #decide(): void {
    const { phase: current, event, connection } = this.store.value
    const phase = nextPhase(current, {
      status: event?.status ?? null,
      connection,
      preview: this.options.preview !== null,
      holding: this.playback.holding,
    })
    if (phase !== current) this.store.patch({ phase })
    if (phase === 'live') {
      if (this.#started) this.playback.start()
    } else if (phase === 'draining') {
      this.playback.drain()
    } else if (this.playback.running) {
      this.playback.stop()
      this.store.patch({ error: null, cues: [] })
    }
  }

  async #makeEngine(events: ConstructorParameters<typeof NativeEngine>[2]): Promise<MediaEngine | null> {
    const { preferences, options, video } = this
    const engineOptions: EngineOptions = {
      url: eventAddresses(this.page, options.preview, this.store.value.event?.hlsUrl ?? null).playlist,
      chooseAudio: (tracks) => initialAudio(tracks, preferences.value.language, options.language),
      chooseCaptions: (tracks) => initialCaptions(tracks, preferences.value.captions, options.captions),
      height: this.#height,
    }
    if (options.engine !== 'native') {
      // A chunk of its own: the page with its countdown does not wait for it.
      const { HlsEngine } = await import('./hls-engine')
      if (HlsEngine.supported()) return new HlsEngine(video, engineOptions, events)
    }
    return NativeEngine.supported(video) ? new NativeEngine(video, engineOptions, events) : null
  }

  #update(): void {
    const { playback, video, store } = this
    const { engine } = playback
    const before = store.value
    store.patch({
      playback: playback.status,
      muted: video.muted,
      volume: video.volume,
      soundBlocked: before.soundBlocked && video.muted,
    })
    // While it is loaded anew, the menus stay as they were.
    if (engine?.ready || !playback.running) {
      store.patch({
        levels: keepEqual(before.levels, engine?.levels() ?? []),
        level: engine?.level() ?? -1,
        currentLevel: engine?.currentLevel() ?? -1,
        audioTracks: keepEqual(before.audioTracks, engine?.audioTracks() ?? []),
        audioTrack: engine?.audioTrack() ?? -1,
        captionTracks: keepEqual(before.captionTracks, engine?.captionTracks() ?? []),
        captionTrack: engine?.captionTrack() ?? -1,
      })
    }
    const time = this.#time()
    if (JSON.stringify(time) !== JSON.stringify(before.time)) store.patch({ time })
  }

  #time(): TimeInfo {
    const engine = this.playback.engine
    const window = engine?.liveWindow()
    if (!engine || !window) return NO_TIME
    const behind = Math.max(0, window.target - this.video.currentTime)
    const latency = engine.latency()
    const date = engine.playingDate()
    return {
      latency: latency === null ? null : tenth(latency),
      behind: tenth(behind),
      atLive: behind < AT_LIVE_TOLERANCE,
      window: Math.floor(Math.max(0, window.target - window.start)),
      date: date ? Math.round(date.getTime() / 1000) * 1000 : null,
    }
  }

  #freeze(frozen: boolean): void {
    const { video, freezeFrame } = this
    if (frozen) {
      // What is on screen already, when a second try follows a first that showed nothing.
      if (video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA || video.videoWidth === 0) return
      freezeFrame.width = video.videoWidth
      freezeFrame.height = video.videoHeight
      freezeFrame.getContext('2d')?.drawImage(video, 0, 0)
    }
    this.store.patch({ frozen })
  }

  /** Cues of whichever captions track is on; the engines leave its mode at `hidden`, so that only we draw it. */
  #followCaptions(): void {
    const { textTracks } = this.video
    const update = () => {
      const cues: VTTCue[] = []
      for (const track of textTracks) {
        if (track.mode === 'disabled' || (track.kind !== 'subtitles' && track.kind !== 'captions')) continue
        for (const cue of track.activeCues ?? []) cues.push(cue as VTTCue)
      }
      const before = this.store.value.cues
      if (cues.length !== before.length || cues.some((cue, i) => cue !== before[i])) this.store.patch({ cues })
    }
    textTracks.addEventListener('addtrack', ({ track }) => track?.addEventListener('cuechange', update))
    textTracks.addEventListener('change', update)
    textTracks.addEventListener('removetrack', update)
  }
}
